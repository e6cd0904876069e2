//! Addresses of Services of type LoadBalancer, from the pools of the cluster, as Cilium's operator gives and reports
//! them (`operator/pkg/lbipam`, semantics B19).

use crate::{crd::CILIUM_POOLS, follow::follow, system::SystemContainer};
use futures::StreamExt;
use jiff::Timestamp;
use meshproof_apiserver::{ApiError, Object, Store, WatchOptions, resource::names::SERVICES};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::Ipv4Addr};

/// Whether a Service has what it asked for.
const SATISFIED: &str = "cilium.io/IPAMRequestSatisfied";
/// The class of load balancers of Cilium's own; Services without class are its, too.
const CLASSES: [&str; 2] = ["io.cilium/l2-announcer", "io.cilium/bgp-control-plane"];

/// Gives addresses until the container ends.
pub(super) async fn assign(container: &SystemContainer) {
    let store = container.cluster.store.writing_as("cilium-operator-generic");
    let of = |resource| follow(&store, resource, |store| WatchOptions::after(store.version()));
    let mut changes = futures::stream::select(of(&SERVICES), of(&CILIUM_POOLS));
    loop {
        if let Err(error) = reconcile(&store) {
            container.log.line(format!(
                "level=warning msg=\"unable to assign an address of a pool\" error={error}"
            ));
        }
        if container.stop.run_until_cancelled(changes.next()).await.is_none() {
            return;
        }
    }
}

fn reconcile(store: &Store) -> Result<(), ApiError> {
    let services = store.all(&SERVICES, None);
    let mut used: BTreeSet<Ipv4Addr> = services.iter().flat_map(addresses).collect();
    let pools = store.all(&CILIUM_POOLS, None);
    let free: Vec<Ipv4Addr> = pools
        .iter()
        .filter(|pool| pool["spec"]["disabled"] != true)
        .flat_map(blocks)
        .collect();
    let waiting = services
        .iter()
        .filter(|service| is_ours(service) && addresses(service).next().is_none());
    for service in waiting {
        let address = free.iter().find(|address| !used.contains(address)).copied();
        let condition = match address {
            Some(_) => condition(SATISFIED, "True", "satisfied", ""),
            None => condition(SATISFIED, "False", "no_pool", "no pool has an address left"),
        };
        used.extend(address);
        if address.is_none() && service["status"]["conditions"][0]["reason"] == "no_pool" {
            continue;
        }
        store.modify_status(&SERVICES, service.namespace(), service.name(), |stored| {
            stored["status"]["conditions"] = json!([condition]);
            if let Some(address) = address {
                stored["status"]["loadBalancer"] = json!({"ingress": [{"ip": address.to_string(), "ipMode": "VIP"}]});
            }
        })?;
    }
    pools.iter().try_for_each(|pool| report(store, pool, &used))
}

/// Whether Cilium gives this Service an address.
fn is_ours(service: &Object) -> bool {
    let class = service["spec"]["loadBalancerClass"].as_str();
    service["spec"]["type"] == "LoadBalancer" && class.is_none_or(|class| CLASSES.contains(&class))
}

fn addresses(service: &Object) -> impl Iterator<Item = Ipv4Addr> + '_ {
    let ingress = service["status"]["loadBalancer"]["ingress"]
        .as_array()
        .into_iter()
        .flatten();
    ingress.filter_map(|one| one["ip"].as_str()?.parse().ok())
}

/// The addresses of a pool that are given by `start` and `stop`.
fn blocks(pool: &Object) -> Vec<Ipv4Addr> {
    let blocks = pool["spec"]["blocks"].as_array().into_iter().flatten();
    let parsed = |value: &Value| value.as_str()?.parse::<Ipv4Addr>().ok().map(u32::from);
    let ranges = blocks.filter_map(|block| Some(parsed(&block["start"])?..=parsed(&block["stop"])?));
    ranges.flatten().map(Ipv4Addr::from).collect()
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": format!("{:.0}", Timestamp::now()),
    })
}

/// What a pool's status says: counts as messages of conditions whose status is unknown.
fn report(store: &Store, pool: &Object, used: &BTreeSet<Ipv4Addr>) -> Result<(), ApiError> {
    let all = blocks(pool);
    let taken = all.iter().filter(|address| used.contains(address)).count();
    let count = |kind: &str, number: usize| condition(kind, "Unknown", "noreason", &number.to_string());
    let conditions = [
        condition("cilium.io/PoolConflict", "False", "resolved", ""),
        count("cilium.io/IPsTotal", all.len()),
        count("cilium.io/IPsAvailable", all.len() - taken),
        count("cilium.io/IPsUsed", taken),
    ];
    let said = |conditions: &[Value]| -> Vec<Value> { conditions.iter().map(|one| one["message"].clone()).collect() };
    let present = pool["status"]["conditions"].as_array().map(Vec::as_slice);
    if said(present.unwrap_or_default()) == said(&conditions) {
        return Ok(());
    }
    let written = store.modify_status(&CILIUM_POOLS, None, pool.name(), |stored| {
        stored["status"]["conditions"] = json!(conditions);
    });
    written.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd;
    use meshproof_apiserver::resource::names::CUSTOM_RESOURCE_DEFINITIONS;

    #[test]
    fn services_of_type_load_balancer_get_addresses_as_long_as_there_are_some() {
        let store = Store::new();
        for definition in crd::definitions() {
            store
                .create(&CUSTOM_RESOURCE_DEFINITIONS, definition)
                .expect("a definition");
        }
        let blocks = json!([{"start": "192.168.42.50", "stop": "192.168.42.51"}]);
        let pool = json!({"metadata": {"name": "pool"}, "spec": {"blocks": blocks}});
        store.create(&CILIUM_POOLS, pool).expect("a pool");
        for (name, kind) in [
            ("a", "LoadBalancer"),
            ("b", "NodePort"),
            ("c", "LoadBalancer"),
            ("d", "LoadBalancer"),
        ] {
            let spec = json!({"type": kind, "ports": [{"port": 80}]});
            let service = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
            store.create(&SERVICES, service).expect("a Service");
        }
        reconcile(&store).expect("reconciled");
        reconcile(&store).expect("nothing more to do");
        let given = |name: &str| {
            let service = store.find(&SERVICES, Some("default"), name).expect("the Service");
            let ips: Vec<String> = addresses(&service).map(|ip| ip.to_string()).collect();
            (
                ips,
                service["status"]["conditions"][0]["reason"].as_str().map(str::to_owned),
            )
        };
        assert_eq!(
            given("a"),
            (vec!["192.168.42.50".to_owned()], Some("satisfied".to_owned()))
        );
        assert_eq!(given("b"), (vec![], None));
        assert_eq!(given("c").0, ["192.168.42.51"]);
        assert_eq!(given("d"), (vec![], Some("no_pool".to_owned())));
        let pool = store.find(&CILIUM_POOLS, None, "pool").expect("the pool");
        assert_eq!(pool["status"]["conditions"][2]["message"], "0");
    }
}
