//! What contradicts itself in a flow, found before anything is touched.

use super::{Flow, FlowProtocol, Refusal};
use crate::ClusterName;

/// Why a flow makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("flow '{flow}': {reason}")]
pub struct FlowError {
    /// Its name.
    pub flow: String,
    /// What is wrong, and what is right.
    pub reason: String,
}

/// The longest name.
const NAME_LIMIT: usize = 80;

impl Flow {
    /// Whether the flow makes sense; `known` are the role names of the clusters of the run.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn verify(&self, known: &[ClusterName]) -> Result<(), FlowError> {
        let problem = self.name_problem().or_else(|| self.problem(known));
        problem.map_or(Ok(()), |reason| {
            Err(FlowError {
                flow: self.name.clone(),
                reason,
            })
        })
    }

    fn name_problem(&self) -> Option<String> {
        let valid = |c: char| c.is_alphanumeric() || " -_.,:+".contains(c);
        let fits = !self.name.trim().is_empty() && self.name.chars().count() <= NAME_LIMIT;
        let right = fits && self.name.chars().all(valid) && self.name.trim() == self.name;
        (!right)
            .then(|| format!("invalid name: expected 1 to {NAME_LIMIT} letters, digits, blanks and any of - _ . , : +"))
    }

    fn problem(&self, known: &[ClusterName]) -> Option<String> {
        let (from, to, expect) = (&self.from, &self.to, &self.expect);
        let answerer = expect.answered_by.as_ref().map(|answerer| &answerer.cluster);
        let named = [Some(&from.cluster), to.cluster.as_ref(), answerer];
        if let Some(unknown) = named.into_iter().flatten().find(|name| !known.contains(name)) {
            let known: Vec<_> = known.iter().map(ClusterName::as_str).collect();
            return Some(format!(
                "unknown cluster '{unknown}'; this run has {}",
                known.join(" and ")
            ));
        }
        if from.host && (from.namespace.is_some() || !from.labels.is_empty() || from.service_account.is_some()) {
            return Some("`from.host` excludes namespace, labels and serviceAccount".to_owned());
        }
        let places = [to.service.is_some(), to.address.is_some(), to.host.is_some()];
        if places.into_iter().filter(|given| *given).count() != 1 {
            return Some("`to` needs exactly one of service, address and host".to_owned());
        }
        if to.service.is_some() && self.service().is_none_or(|(name, ns)| name.is_empty() || !is_label(ns)) {
            return Some("`to.service` must be NAME.NAMESPACE".to_owned());
        }
        if to.cluster.is_some() && to.service.is_none() {
            return Some("`to.cluster` needs `to.service`".to_owned());
        }
        if to.port == 0 {
            return Some("`to.port` must be at least 1".to_owned());
        }
        self.protocol_problem().or_else(|| self.expectation_problem())
    }

    fn protocol_problem(&self) -> Option<String> {
        use FlowProtocol::{Dns, Http, Https, Postgres, Tls};
        let (to, expect) = (&self.to, &self.expect);
        let speaks = |protocols: &[FlowProtocol]| protocols.contains(&to.protocol);
        let web = expect.status.is_some() || expect.body.is_some() || !expect.headers.is_empty();
        let only = |key: &str, protocols: &str| Some(format!("`{key}` needs protocol {protocols}"));
        if (to.request.is_some() || web) && !speaks(&[Http, Https]) {
            return only("request, status, body or headers", "http or https");
        }
        if (to.tls.is_some() || expect.days_left.is_some()) && !speaks(&[Tls, Https, Postgres]) {
            return only("tls or daysLeft", "tls, https or postgres");
        }
        if expect.tls.is_some() && !speaks(&[Postgres]) {
            return only("expect.tls", "postgres");
        }
        if to.query.is_some() != speaks(&[Dns]) {
            return Some("`to.query` and protocol dns need each other".to_owned());
        }
        if speaks(&[Dns]) && to.host.is_some() {
            return Some("protocol dns needs a service or an address".to_owned());
        }
        None
    }

    fn expectation_problem(&self) -> Option<String> {
        let expect = &self.expect;
        if expect.allowed {
            return expect.refusal.map(|_| "`refusal` needs `allowed: false`".to_owned());
        }
        let promised = expect.answered_by.is_some()
            || expect.p99.is_some()
            || expect.availability.is_some()
            || expect.encrypted.is_some()
            || expect.status.is_some()
            || expect.body.is_some()
            || expect.days_left.is_some()
            || expect.tls.is_some();
        if promised {
            return Some("`allowed: false` excludes all other expectations but `refusal`".to_owned());
        }
        let is_http = self.to.protocol == FlowProtocol::Http;
        (expect.refusal == Some(Refusal::Forbidden) && !is_http)
            .then(|| "`refusal: forbidden` needs protocol http".to_owned())
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn reason(change: impl FnOnce(&mut Value)) -> String {
        let mut flow = json!({
            "name": "web reaches its database", "from": {"cluster": "apps"},
            "to": {"service": "postgres-rw.databases", "port": 5432, "protocol": "postgres"},
        });
        change(&mut flow);
        let flow: Flow = serde_json::from_value(flow).expect("a flow");
        let clusters: Vec<ClusterName> = ["infra", "apps"].map(ClusterName::from).into();
        flow.verify(&clusters)
            .err()
            .map_or_else(String::new, |error| error.reason)
    }

    #[test]
    fn a_plain_flow_is_right() {
        assert_eq!(reason(|_| ()), "");
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 12] = [
            (|f| f["name"] = json!("a[b]"), "invalid name"),
            (|f| f["name"] = json!(""), "invalid name"),
            (|f| f["from"]["cluster"] = json!("edge"), "unknown cluster 'edge'"),
            (
                |f| f["from"] = json!({"cluster": "apps", "host": true, "namespace": "x"}),
                "`from.host`",
            ),
            (|f| f["to"]["host"] = json!("db.example"), "exactly one"),
            (|f| f["to"]["service"] = json!("postgres-rw"), "NAME.NAMESPACE"),
            (|f| f["to"]["port"] = json!(0), "at least 1"),
            (|f| f["expect"] = json!({"status": 200}), "needs protocol http"),
            (|f| f["expect"] = json!({"refusal": "dropped"}), "`allowed: false`"),
            (|f| f["expect"] = json!({"allowed": false, "p99": "1s"}), "excludes"),
            (
                |f| f["expect"] = json!({"allowed": false, "refusal": "forbidden"}),
                "needs protocol http",
            ),
            (|f| f["to"]["query"] = json!("a.example"), "need each other"),
        ];
        for (change, expected) in cases {
            let found = reason(change);
            assert!(found.contains(expected), "expected {expected:?}, found {found:?}");
        }
    }
}
