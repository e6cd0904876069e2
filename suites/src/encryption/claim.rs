//! What the operators claim about encryption, and whether a check applies because of it.

use crate::kit::cilium::remotes;
use meshproof_contract::{Claim, ClaimKind, ClaimSource, ClusterName, Facts, Instance, Verdict};
use std::fmt;

/// What is claimed of the traffic between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// WireGuard between all nodes.
    WireGuard,
    /// IPsec.
    Ipsec,
    /// Plaintext, on purpose.
    None,
}

impl Mode {
    fn of(claim: &Claim) -> Option<Self> {
        match claim.value.to_ascii_lowercase().as_str() {
            "wireguard" => Some(Mode::WireGuard),
            "ipsec" => Some(Mode::Ipsec),
            "none" | "false" | "disabled" => Some(Mode::None),
            _ => None,
        }
    }

    /// As `meshproof.yaml` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::WireGuard => "wireguard",
            Mode::Ipsec => "ipsec",
            Mode::None => "none",
        }
    }

    /// `encryption.mode` of `cilium-dbg status -o json`.
    pub fn status(self) -> &'static str {
        match self {
            Mode::WireGuard => "Wireguard",
            Mode::Ipsec => "IPsec",
            Mode::None => "Disabled",
        }
    }
}

/// A claim, with its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// What.
    pub mode: Mode,
    /// `encryption=wireguard; source: meshproof.yaml:7`.
    pub by: String,
    /// Whether anybody promises it: a configuration that is off promises no plaintext.
    pub promised: bool,
}

impl Claimed {
    /// The verdict as far as somebody promised something.
    pub fn settle(&self, verdict: Verdict) -> Verdict {
        match (self.mode, &verdict) {
            (Mode::None, Verdict::Fail { .. }) if !self.promised => Verdict::skipped(format!(
                "not claimed: encryption is off ({}) and nobody promises plaintext; packets are not readable, so the \
                 network below encrypts them",
                self.by
            )),
            _ => verdict,
        }
    }

    /// What a finding expected, with the claim that says so.
    pub fn expects(&self, what: impl fmt::Display) -> String {
        format!("{what} (claimed: {})", self.by)
    }
}

/// What is claimed of a cluster.
pub fn of(facts: &Facts, cluster: &ClusterName) -> Result<Claimed, Verdict> {
    let Some(claim) = facts.claim(cluster, ClaimKind::Encryption) else {
        return Err(Verdict::skipped(format!(
            "not claimed: no claim about encryption in {cluster}"
        )));
    };
    match Mode::of(claim) {
        Some(mode) => Ok(overruled_by(facts, claim, mode).unwrap_or_else(|| Claimed {
            mode,
            by: format!("encryption={}; source: {}", mode.as_str(), claim.source),
            promised: mode != Mode::None || !matches!(claim.source, ClaimSource::Live { .. }),
        })),
        None => Err(Verdict::inconclusive(format!(
            "{cluster} claims encryption={:?} ({}): expected wireguard, ipsec or none",
            claim.value, claim.source
        ))),
    }
}

/// The claim of an encrypting cluster of the same mesh, where only the live configuration says that this one does not
/// encrypt: Cilium does not support mixed encryption in one mesh, so such a configuration is what must be verified and
/// not a claim.
fn overruled_by(facts: &Facts, claim: &Claim, mode: Mode) -> Option<Claimed> {
    let ClaimSource::Live { object } = &claim.source else {
        return None;
    };
    if mode != Mode::None {
        return None;
    }
    let others = facts.clusters.iter().map(|c| &c.name);
    let mut others = others.filter(|other| **other != claim.cluster && remotes::joined(facts, &claim.cluster, other));
    others.find_map(|other| {
        let stricter = facts.claim(other, ClaimKind::Encryption)?;
        let mode = Mode::of(stricter).filter(|mode| *mode != Mode::None)?;
        Some(Claimed {
            mode,
            by: format!(
                "encryption={}; source: {other}, {}; Cilium does not support mixed encryption in one mesh, and {} has \
                 encryption off: {object}",
                mode.as_str(),
                stricter.source,
                claim.cluster
            ),
            promised: true,
        })
    })
}

/// What is claimed of the traffic of an instance. Between clusters it is encrypted if either side says so: a claim of
/// one side only is what must be verified.
pub fn between(facts: &Facts, instance: &Instance) -> Result<Claimed, Verdict> {
    let (from, to) = (instance.from(), instance.to());
    if from == to {
        return of(facts, from);
    }
    if !remotes::joined(facts, from, to) {
        return Err(Verdict::skipped(format!(
            "not claimed: no claim that {from} and {to} are in one cluster mesh"
        )));
    }
    match (of(facts, from), of(facts, to)) {
        (Ok(a), Ok(b)) => Ok(if a.mode == Mode::None { b } else { a }),
        (Ok(one), Err(Verdict::Skipped { .. })) | (Err(Verdict::Skipped { .. }), Ok(one)) => Ok(one),
        (Err(verdict), _) | (_, Err(verdict)) => Err(verdict),
    }
}

/// WireGuard's claim of a cluster; any other claim is skipped, with the reason.
pub fn wireguard(facts: &Facts, cluster: &ClusterName) -> Result<Claimed, Verdict> {
    match of(facts, cluster)? {
        claimed if claimed.mode == Mode::WireGuard => Ok(claimed),
        other => Err(Verdict::skipped(format!(
            "not claimed: {cluster} does not claim WireGuard ({})",
            other.by
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encryption::tests::world::{self, claim};

    #[test]
    fn unclaimed_is_skipped_and_an_unknown_value_is_not_guessed() {
        let facts = world::facts(crate::testing::MISSION);
        let infra = "infra".into();
        let mut without = facts.clone();
        without.claims.retain(|c| c.kind != ClaimKind::Encryption);
        assert_eq!(of(&without, &infra).expect_err("skipped").word(), "skipped");
        let mut odd = without.clone();
        odd.claims.push(claim("infra", "ztunnel"));
        assert_eq!(of(&odd, &infra).expect_err("unknown").word(), "inconclusive");
        assert_eq!(of(&facts, &infra).expect("claimed").mode, Mode::WireGuard);
    }

    #[test]
    fn between_clusters_the_one_that_encrypts_decides() {
        let mut facts = world::facts(crate::testing::MISSION);
        facts.claims.retain(|c| c.kind != ClaimKind::Encryption);
        facts.claims.push(claim("infra", "none"));
        let direction = Instance::Direction {
            from: "infra".into(),
            to: "apps".into(),
        };
        assert_eq!(between(&facts, &direction).expect("one claims").mode, Mode::None);
        facts.claims.push(claim("apps", "wireguard"));
        assert_eq!(between(&facts, &direction).expect("both claim").mode, Mode::WireGuard);
    }

    #[test]
    fn a_live_configuration_without_encryption_is_not_a_claim_beside_a_cluster_that_encrypts() {
        let infra = "infra".into();
        let mut facts = world::facts(crate::testing::MISSION);
        let own = |facts: &mut Facts| {
            let is_own = |c: &&mut Claim| c.kind == ClaimKind::Encryption && c.cluster == infra;
            facts
                .claims
                .iter_mut()
                .find(is_own)
                .map(|c| c.value = "none".to_owned())
        };
        own(&mut facts).expect("claimed");
        let claimed = wireguard(&facts, &infra).expect("overruled");
        assert!(claimed.by.contains("mixed encryption"), "{}", claimed.by);
        let mut alone = facts.clone();
        alone.claims.retain(|c| c.kind != ClaimKind::ClusterMesh);
        assert_eq!(of(&alone, &infra).expect("claimed").mode, Mode::None);
        for claim in facts.claims.iter_mut().filter(|c| c.cluster == infra) {
            let (path, line) = ("meshproof.yaml".to_owned(), 7);
            claim.source = ClaimSource::File { path, line };
        }
        assert_eq!(of(&facts, &infra).expect("claimed").mode, Mode::None);
        assert_eq!(wireguard(&facts, &infra).expect_err("none").word(), "skipped");
    }
}
