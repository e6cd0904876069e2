//! Every Service's EndpointSlices have the pods that its selector selects, and no address that no pod has.

use super::{
    cilium,
    deviation::{Counts, Difference, Seen, conclude},
    look::Look,
    object::{Name, Pod},
    service::{Service, Slice},
};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, NodeName, Scope, Tally, Verdict};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// EndpointSlices against pods.
pub struct Backends;

const COMMAND: &str = "get endpointslices,pods -A -o wide";

#[async_trait]
impl Check for Backends {
    fn id(&self) -> CheckId {
        CheckId::from("state::backends")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every Service's EndpointSlices have its ready pods, and no pod that has gone",
            proves: "What all nodes take for the backends of a Service are its pods: no request goes to an address \
                     that no pod has, and no ready pod is left out. A controller that stands still, or a slice that \
                     somebody changed, shows here; agents follow the slices, right or wrong.",
            how: "Services, EndpointSlices and pods of all namespaces are listed. Each ready pod that the selector of \
                  a Service selects must be in a slice of the Service. In slices of Kubernetes' own controller each \
                  ready address must be one of a pod that is not unready. A difference must be there again \
                  `thresholds.propagation` (default 10 s) later, an address too many twice.",
            control: "At least one pod must have been found behind a Service. Lists that cannot be read make it \
                      inconclusive.",
            when_red: "`kubectl --context CONTEXT get endpointslices -A` and `kubectl --context CONTEXT get pods -A -o \
                       wide`. Several Services: does `kube-controller-manager` run and hold its Lease, `kubectl \
                       --context CONTEXT -n kube-system get leases`? One: delete its EndpointSlice, the controller \
                       writes it again.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs::default()
    }
    fn faults(&self) -> &'static [&'static str] {
        &["endpoint-slice-stale"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        if let Err(verdict) = cilium(context, &facts) {
            return verdict;
        }
        conclude(context, |look, tally| compare(context, look, tally)).await
    }
}

fn compare(context: &CheckContext, look: &Look, tally: &mut Tally) -> Seen {
    let mut seen = Seen::of("pods behind Services in EndpointSlices");
    let read = look
        .cluster(context.instance.from())
        .and_then(|look| Ok((look.services.as_ref()?, look.slices.as_ref()?, look.pods.as_ref()?)));
    let (services, slices, pods) = match read {
        Ok(read) => read,
        Err(why) => {
            tally.unknown(why);
            return seen;
        }
    };
    let mut of_service: BTreeMap<&Name, Vec<&Slice>> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| !slice.mirrored) {
        of_service.entry(&slice.service).or_default().push(slice);
    }
    for service in services.iter().filter(|service| !service.selector.is_empty()) {
        let of_namespace = pods.iter().filter(|pod| pod.name.0 == service.name.0);
        let slices = of_service.get(&service.name).map_or(&[][..], Vec::as_slice);
        Behind {
            service,
            pods: of_namespace.filter(|pod| selects(service, pod)).collect(),
            slices,
        }
        .compare(&mut seen);
    }
    seen
}

fn selects(service: &Service, pod: &Pod) -> bool {
    service
        .selector
        .iter()
        .all(|(key, value)| pod.labels.get(key) == Some(value))
}

/// What is behind one Service.
struct Behind<'a> {
    service: &'a Service,
    /// The pods that its selector selects, in whatever state.
    pods: Vec<&'a Pod>,
    slices: &'a [&'a Slice],
}

impl Behind<'_> {
    fn compare(&self, seen: &mut Seen) {
        let listed: BTreeSet<IpAddr> = self.addresses(|_| true).collect();
        for pod in self.pods.iter().filter(|pod| is_ready(pod) == Some(true)) {
            seen.compared += 1;
            if pod.addresses.is_disjoint(&listed) {
                let expected = format!("{} in an EndpointSlice, since it is ready", named(pod));
                self.add(expected, "missing".to_owned(), pod, seen);
            }
        }
        for address in self.addresses(|slice| slice.selected).collect::<BTreeSet<_>>() {
            let owners: Vec<&&Pod> = self
                .pods
                .iter()
                .filter(|pod| pod.addresses.contains(&address))
                .collect();
            let Some(owner) = owners.first() else {
                self.kept(address, seen);
                continue;
            };
            let is_unready = owners.iter().all(|pod| is_ready(pod) == Some(false));
            if is_unready && !self.service.publishes_unready {
                let expected = format!("{} not ready in its EndpointSlice, as the pod is", named(owner));
                self.add(expected, "ready".to_owned(), owner, seen);
            }
        }
    }

    /// The ready addresses of slices.
    fn addresses<'b>(&'b self, is_meant: impl Fn(&Slice) -> bool + 'b) -> impl Iterator<Item = IpAddr> + 'b {
        let meant = self.slices.iter().filter(move |slice| is_meant(slice));
        let ready = meant.flat_map(|slice| slice.backends.iter().filter(|backend| backend.ready));
        ready.flat_map(|backend| backend.addresses.iter().copied())
    }

    fn subject(&self) -> String {
        format!(
            "EndpointSlices of Service {}/{}",
            self.service.name.0, self.service.name.1
        )
    }

    fn add(&self, expected: String, observed: String, pod: &Pod, seen: &mut Seen) {
        let since = pod.ready.as_ref().map_or("", |(_, since)| since);
        let difference = Difference {
            subject: self.subject(),
            expected,
            observed,
            version: format!("{} {} {since}", self.service.version, pod.uid),
            counts: Counts::Twice,
        };
        seen.in_api(COMMAND, difference);
    }

    fn kept(&self, address: IpAddr, seen: &mut Seen) {
        let difference = Difference {
            subject: self.subject(),
            expected: "addresses that pods have".to_owned(),
            observed: format!("keeps {address}, which no pod of it has: requests to it are lost"),
            version: String::new(),
            counts: Counts::Thrice,
        };
        seen.in_api(COMMAND, difference);
    }
}

/// Whether a pod takes requests, as far as it says; not once it is on its way out or has ended.
fn is_ready(pod: &Pod) -> Option<bool> {
    pod.ready.as_ref().map(|(ready, _)| *ready && pod.is_up)
}

fn named(pod: &Pod) -> String {
    let addresses: Vec<String> = pod.addresses.iter().map(IpAddr::to_string).collect();
    let node = pod.node.as_ref().map_or("no node", NodeName::as_str);
    format!("pod {} ({}, on {node})", pod.name.1, addresses.join(", "))
}
