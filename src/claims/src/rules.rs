//! The rules of `claims check`. Each says what it finds and why that is wrong; docs/claims.md is made of them.

pub mod announce;
pub mod claimed;
pub mod exporter;
pub mod flux;
pub mod keys;
pub mod mesh;
pub mod objects;
pub mod peers;
pub mod pins;
pub mod policies;
pub mod policy_dns;
pub mod pools;
pub mod ranges;
pub mod references;
pub mod services;
pub mod settings;

use crate::{
    chart::Chart,
    finding::{Findings, Rule, Severity},
    layout::{Cluster, Layout},
    place::FileId,
    policy::Policies,
    sources::{Document, Sources},
    table::Table,
    values::Values,
};
use std::collections::BTreeSet;

/// Everything that rules look at.
pub struct Context<'a> {
    /// The files.
    pub sources: &'a Sources,
    /// Which file is for which cluster.
    pub layout: &'a Layout,
    /// The chart.
    pub chart: &'a Chart,
    /// The claim table.
    pub table: &'a Table,
    /// The policies of the repository.
    pub policies: &'a Policies<'a>,
}

impl<'a> Context<'a> {
    /// Each cluster with its values.
    pub fn clusters(&self) -> impl Iterator<Item = (&'a Cluster, Values<'a>)> + '_ {
        let clusters = self.layout.clusters.iter();
        clusters.filter_map(|cluster| cluster.values(self.chart).map(|values| (cluster, values)))
    }

    /// The documents of a kind.
    pub fn of_kind(&self, kind: &'a str) -> impl Iterator<Item = &'a Document> + '_ {
        self.sources
            .documents
            .iter()
            .filter(move |document| document.kind == kind)
    }

    /// The clusters that a file is for; all of them where nothing says so.
    pub fn roles(&self, file: FileId) -> BTreeSet<String> {
        let roles = self.layout.members.roles(file);
        if roles.is_empty() {
            self.layout
                .clusters
                .iter()
                .map(|cluster| cluster.role.clone())
                .collect()
        } else {
            roles
        }
    }

    /// Whether a value is known to be off in every cluster that a file is for, and there is at least one.
    pub fn is_off(&self, file: FileId, path: &str) -> bool {
        let roles = self.roles(file);
        let mut of = self
            .clusters()
            .filter(|(cluster, _)| roles.contains(&cluster.role))
            .peekable();
        of.peek().is_some() && of.all(|(_, values)| values.stated(path).is_truthy() == Some(false))
    }
}

/// The rules that are code, in the order of the documentation.
pub const ALL: &[&Rule] = &[
    &keys::MALFORMED,
    &keys::DUPLICATE_KEY,
    &keys::UNKNOWN_KEY,
    &keys::WRONG_TYPE,
    &claimed::NO_EFFECT,
    &exporter::EXPORTER_REFUSED,
    &exporter::EXPORTER_CONFIG_MAP,
    &mesh::NO_MEMBERS,
    &mesh::MEMBER_MISSING,
    &mesh::NAME_OR_ID,
    &mesh::SETTINGS_DIFFER,
    &mesh::CA_DIFFERS,
    &ranges::PODS_OVERLAP,
    &ranges::SERVICES_OVERLAP,
    &ranges::NATIVE_RANGE,
    &ranges::STRICT_RANGE,
    &pins::PINS_DIFFER,
    &pins::NOT_PINNED,
    &pins::UPGRADE_COMPATIBILITY,
    &pins::REMOVED_API,
    &flux::DEPRECATED_API,
    &flux::RELEASE_MISSING,
    &flux::VALUES_DIFFER,
    &references::VALUES_MISSING,
    &references::VALUES_FROM_MISSING,
    &references::CONFIG_MAP_KEY_MISSING,
    &objects::DEPRECATED_API,
    &objects::FEATURE_OFF,
    &objects::POLICY_LABEL,
    &announce::NOTHING_ANNOUNCED,
    &announce::L2_NOTHING,
    &announce::PEER_CONFIG_MISSING,
    &pools::POOLS_OVERLAP,
    &pools::FIRST_LAST,
    &services::LEGACY_ANNOTATION,
    &services::NO_NAMESAKE,
    &services::PORTS_DIFFER,
    &services::AFFINITY,
    &services::SHARED,
    &policies::INVALID,
    &policies::IGNORED,
    &policies::ADMITS_ALL,
    &policies::UNKNOWN_PARSER,
    &peers::SELECTS_NOTHING,
    &peers::SELECTS_UNKNOWN,
    &peers::OWN_NAMESPACE,
    &policy_dns::CLOSES_ALL,
    &policy_dns::CLOSES_DNS,
    &policy_dns::FQDN_WITHOUT_DNS,
];

/// A rule as documentation shows it.
#[derive(Clone, Debug)]
pub struct Described {
    /// Its name.
    pub id: String,
    /// How bad what it finds is.
    pub severity: Severity,
    /// What it finds.
    pub finds: String,
    /// Why that is wrong.
    pub reason: String,
    /// Values that break it and values that hold, as YAML, of rules about the values of one cluster.
    pub examples: Option<(String, String)>,
}

/// Every rule, those of the data file last.
pub fn described() -> Vec<Described> {
    let code = ALL.iter().map(|rule| Described {
        id: rule.id.to_owned(),
        severity: rule.severity,
        finds: rule.finds.to_owned(),
        reason: rule.reason.to_owned(),
        examples: None,
    });
    let data = settings::settings().into_iter().map(|setting| Described {
        id: setting.id,
        severity: setting.severity,
        finds: setting.what.replace(['{', '}'], ""),
        reason: setting.reason,
        examples: Some((setting.breaks.inline(), setting.holds.inline())),
    });
    code.chain(data).collect()
}

/// Applies every rule.
pub fn check(context: &Context<'_>, out: &mut Findings) {
    keys::check(context, out);
    settings::check(context, out);
    exporter::check(context, out);
    mesh::check(context, out);
    ranges::check(context, out);
    pins::check(context, out);
    flux::check(context, out);
    objects::check(context, out);
    announce::check(context, out);
    pools::check(context, out);
    services::check(context, out);
    policies::check(context, out);
    peers::check(context, out);
    policy_dns::check(context, out);
    // Last: it is silent where a rule that knows more has spoken.
    claimed::check(context, out);
}
