//! A Service of type ExternalName is an alias, and its target's address comes along.

use super::fresh;
use crate::kit::{
    dns::{
        ask::ask,
        question::{Expected, Question},
        zone::{Zone, address_record},
    },
    needs, probes, unique_name,
};
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, Needs, RecordType, Scope, Tally, Transport, Verdict,
};
use serde_json::json;

/// Services of type ExternalName.
pub struct ExternalName;

#[async_trait]
impl Check for ExternalName {
    fn id(&self) -> CheckId {
        CheckId::from("dns::external_name")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "A Service of type ExternalName resolves to its target, and to the target's address",
            proves: "Applications that reach a database or another namespace by an alias Service get the alias, and \
                     with the same question the address behind it.",
            how: "A Service of type ExternalName with a random name is created, whose target is the name of Service \
                  `server` in this cluster. Once every replica knows it, the client on every node asks for it over \
                  UDP and TCP: for its CNAME, which must be exactly the target, and for its address, which must be \
                  exactly the cluster IP of `server`. After silence or SERVFAIL it asks six more times before that \
                  counts.",
            control: "Only an answer with the expected record counts. The name is known to every replica before it is \
                      judged.",
            when_red: "`kubectl --context CONTEXT -n DNS_NAMESPACE get configmap -o yaml` shows the Corefile: does the \
                       plugin `kubernetes` serve the target's domain in the same server block? If only the address is \
                       missing, the server does not look the target up; see `kubectl --context CONTEXT -n \
                       DNS_NAMESPACE logs POD --tail=50`.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        needs::CHANGING
    }
    fn faults(&self) -> &'static [&'static str] {
        &["dns-alias-not-followed", "dns-alias-target-wrong"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let (Ok(verdict) | Err(verdict)) = observe(context).await;
        verdict
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let zone = Zone::of(context)?;
    let (server, address) = zone.cluster_ip(context, "server")?;
    let target = zone.absolute(&server.namespace, &server.name);
    let name = unique_name::label("alias");
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": server.namespace},
        "spec": {"type": "ExternalName", "externalName": target.trim_end_matches('.')},
    });
    fresh::create(context, service).await?;
    let alias = zone.absolute(&server.namespace, &name);
    let question = |record, expected: &Expected, transport| Question {
        label: format!(
            "{} of {alias} over {transport}",
            if record == RecordType::Cname {
                "CNAME"
            } else {
                "address"
            }
        ),
        probe: probes::dns(&alias, record, None, transport),
        expected: expected.clone(),
    };
    let of = |transport| {
        [
            question(RecordType::Cname, &Expected::Name(target.clone()), transport),
            question(address_record(address), &Expected::address(address), transport),
        ]
    };
    let questions = [Transport::Udp, Transport::Tcp].map(of).concat();
    let known = fresh::known(context, &zone, &alias).await;
    let verdict = match known {
        Ok(()) => {
            let mut tally = Tally::new();
            ask(context, &zone, &questions, &mut tally).await;
            Ok(tally.verdict())
        }
        Err(verdict) => Err(verdict),
    };
    fresh::discard(context, &server.namespace, &name).await;
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, dns_code, dns_records, infra, timeout};
    use meshproof_contract::{Action, DnsAnswer, DnsCode, Outcome};

    fn aliases(answer: impl Fn(RecordType) -> Option<Outcome> + Send + Sync + 'static) -> Fake {
        Fake::healthy().rule(move |ask| match ask.action {
            Action::Dns { name, record, .. } if name.contains("alias-") => answer(*record),
            _ => None,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_alias_and_the_address_are_green() {
        let text = aliases(|_| None).expect(&ExternalName, infra(), "pass").await;
        assert!(text.contains("CNAME of "), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_alias_without_address_or_to_another_name_is_red() {
        let unfollowed = aliases(|record| (record == RecordType::A).then(|| dns_records(Vec::new())));
        let text = unfollowed.expect(&ExternalName, infra(), "fail").await;
        assert!(text.contains("address of ") && !text.contains("| CNAME of"), "{text}");
        let elsewhere = aliases(|record| {
            let name = DnsAnswer::Name("other.meshproof.svc.cluster.local.".to_owned());
            (record == RecordType::Cname).then(|| dns_records(vec![name]))
        });
        elsewhere.expect(&ExternalName, infra(), "fail").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_never_learnt_or_made_is_inconclusive() {
        let unknown = aliases(|_| Some(dns_code(DnsCode::NxDomain)));
        let text = unknown.expect(&ExternalName, infra(), "inconclusive").await;
        assert!(text.contains("dns::replica_learns"), "{text}");
        aliases(|_| Some(timeout()))
            .expect(&ExternalName, infra(), "inconclusive")
            .await;
        let refused = Fake::healthy().apply_refused();
        refused.expect(&ExternalName, infra(), "inconclusive").await;
    }
}
