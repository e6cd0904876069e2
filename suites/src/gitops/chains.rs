//! Every claim of a cluster as a chain: those of the files, those of the release, and whatever else differs.

mod objects;
mod unshown;

use super::{
    follow::{self, Agents, link, not_read},
    reading::{HelmRelease, Reading},
};
use meshproof_claims::{
    chart::Chart,
    drift::{self, Change, Difference},
    prediction::Prediction,
    release::Release,
    table::{Row, Table, shown},
    values::{Stated as AtPath, Values, leaves},
    yaml::Node,
};
use meshproof_contract::{Break, Chain, CheckId, ClusterName, GitFacts, Link, LinkKind, LinkState, chain::Stated};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The version of which `cilium-config` can be predicted from values.
const PREDICTED: &str = "1.18.";

/// What the chains are made of.
pub struct Sources<'a> {
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// The files; none where the run was given none.
    pub git: Option<&'a GitFacts>,
    /// The cluster's own.
    pub reading: &'a Reading,
    /// The version that runs.
    pub version: &'a str,
    /// How to close a break.
    pub next: &'a Next,
}

/// The commands that close breaks.
#[derive(Debug)]
pub struct Next {
    /// Installs what Git says.
    pub install: String,
    /// Puts the objects back to what the release rendered.
    pub put_back: String,
    /// Lets agents read their configuration.
    pub restart: String,
}

/// The chains, and what else was found on the way.
#[derive(Debug, Default)]
pub struct Chains {
    /// One a claim.
    pub all: Vec<Chain>,
    /// Values of agents that were compared.
    pub compared: usize,
    /// Values of the release that its chart does not know, each with the key that was probably meant.
    pub unknown: Vec<(String, Option<String>)>,
    /// What could not be read.
    pub unread: Vec<String>,
}

/// The values of the release, ready to be asked.
struct Deployed<'a> {
    release: &'a Release,
    chart: Chart,
    given: Node,
    objects: Vec<Value>,
}

struct Builder<'a> {
    sources: &'a Sources<'a>,
    table: Table,
    prediction: Prediction,
    deployed: Option<Deployed<'a>>,
    config: BTreeMap<String, String>,
    /// Keys of `cilium-config` that are not as the link before says.
    drifted: Vec<Difference>,
    found: Chains,
}

/// Follows every claim.
pub fn follow(sources: &Sources<'_>) -> Chains {
    let prediction = Prediction::new();
    let table = Table::new(&Chart::new(), &prediction);
    let mut found = Chains::default();
    let deployed = match &sources.reading.release {
        HelmRelease::Found(release) => match release.objects(&["ConfigMap", "DaemonSet", "Deployment"]) {
            Ok(objects) => Some(Deployed {
                chart: Chart::of_defaults(&release.defaults),
                given: release.given(),
                release,
                objects,
            }),
            Err(error) => {
                found
                    .unread
                    .push(format!("the manifest of release {}: {error}", release.name));
                None
            }
        },
        HelmRelease::Unreadable(why) => {
            found.unread.push(why.clone());
            None
        }
        HelmRelease::Absent | HelmRelease::NotPermitted => None,
    };
    let config = match &sources.reading.config {
        Ok(object) => texts(&object["data"]),
        Err(why) => {
            found.unread.push(why.clone());
            return found;
        }
    };
    let mut builder = Builder {
        sources,
        table,
        prediction,
        deployed,
        config,
        drifted: Vec::new(),
        found,
    };
    if let Some(deployed) = &builder.deployed
        && builder.rendered("ConfigMap", "cilium-config").is_none()
    {
        let why = format!(
            "release {} has no ConfigMap cilium-config to compare with",
            deployed.release.name
        );
        builder.found.unread.push(why);
    }
    builder.drifted = builder.drift_of_config();
    builder.claims();
    builder.unshown();
    builder.other_keys();
    builder.workloads();
    builder.unknown_values();
    builder.found
}

fn texts(data: &Value) -> BTreeMap<String, String> {
    let entries = data.as_object().into_iter().flatten();
    entries
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

impl Builder<'_> {
    fn live(&self) -> &Value {
        self.sources.reading.config.as_ref().unwrap_or(&Value::Null)
    }

    /// The object of the release.
    fn rendered(&self, kind: &str, name: &str) -> Option<&Value> {
        let objects = &self.deployed.as_ref()?.objects;
        objects
            .iter()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    /// Against what the release rendered, or else what the values of the files make of it.
    fn drift_of_config(&self) -> Vec<Difference> {
        if let Some(rendered) = self.rendered("ConfigMap", "cilium-config") {
            return drift::of_config_map(rendered, self.live());
        }
        let mut found: Vec<Difference> = Vec::new();
        if self.deployed.is_some() || !self.sources.version.starts_with(PREDICTED) {
            return found;
        }
        let stated = self
            .sources
            .git
            .into_iter()
            .flat_map(|git| git.of(self.sources.cluster));
        for (key, predicted) in stated.flat_map(|stated| &stated.config) {
            let live = self.config.get(key);
            // Whether an empty text is rendered depends on how Helm is used: by its command it is, by Cilium's not.
            let text = |one: Option<&String>| one.cloned().unwrap_or_default();
            if text(live) != text(predicted.as_ref()) && !found.iter().any(|known| known.what == *key) {
                let field = format!("f:{key}");
                found.push(Difference {
                    what: key.clone(),
                    rendered: predicted.clone(),
                    live: live.cloned(),
                    by: drift::writer(self.live(), &["f:data", &field]),
                });
            }
        }
        found
    }

    /// The claims of the files and of the release; without both, whatever agents show.
    fn claims(&mut self) {
        let git = self.sources.git;
        let stated: Vec<&Stated> = git.into_iter().flat_map(|git| git.of(self.sources.cluster)).collect();
        let mut paths: Vec<String> = stated.iter().map(|stated| stated.claim.clone()).collect();
        if let Some(deployed) = &self.deployed {
            let given = leaves(&deployed.given).into_iter().map(|leaf| leaf.path());
            let known = given.filter(|path| self.table.row(path).is_some());
            paths.extend(known.collect::<Vec<_>>());
        }
        if paths.is_empty() {
            let shows = |row: &&Row| {
                row.config_keys
                    .iter()
                    .any(|key| self.config.contains_key(*key) && is_shown(key))
            };
            paths.extend(self.table.rows().iter().filter(shows).map(|row| row.value.clone()));
        }
        let mut known = BTreeSet::new();
        paths.retain(|path| known.insert(path.clone()));
        for path in paths {
            let stated = stated.iter().find(|stated| stated.claim == path).copied();
            let chain = self.chain(&path, stated);
            self.found.all.push(chain);
        }
    }

    fn chain(&mut self, path: &str, stated: Option<&Stated>) -> Chain {
        let row = self.table.row(path).cloned();
        let keys: Vec<String> = match &row {
            Some(row) => row.config_keys.iter().map(|key| (*key).to_owned()).collect(),
            None => Vec::new(),
        };
        let mut broken = None;
        let mut links = Vec::new();
        let git = self.git(path, stated);
        let helm = self.helm(path, git.as_ref(), stated.is_some(), &mut broken);
        links.extend(git);
        links.push(helm);
        links.push(self.objects(row.as_ref(), &keys, &mut broken));
        links.push(self.agents(&keys, &mut broken));
        Chain {
            cluster: self.sources.cluster.clone(),
            claim: path.to_owned(),
            links,
            broken,
            source: stated.map(|stated| stated.source.clone()),
            checks: row
                .map(|row| row.checks.iter().map(|check| CheckId::from(check.as_str())).collect())
                .unwrap_or_default(),
        }
    }

    fn git(&self, path: &str, stated: Option<&Stated>) -> Option<Link> {
        let git = self.sources.git?;
        if let Some(stated) = stated {
            let place = stated.source.to_string();
            return Some(link(LinkKind::Git, LinkState::Holds, &stated.value, Some(place)));
        }
        // Where every file was read, what none states is the chart's default.
        let deployed = self.deployed.as_ref()?;
        let default = deployed.chart.default_of(path).map_or_else(|| "null".to_owned(), shown);
        let place = "no file; the chart's default".to_owned();
        let is_complete = git.complete.contains(self.sources.cluster);
        is_complete.then(|| link(LinkKind::Git, LinkState::Holds, default, Some(place)))
    }

    fn helm(&self, path: &str, git: Option<&Link>, is_stated: bool, broken: &mut Option<Break>) -> Link {
        let Some(deployed) = &self.deployed else {
            return not_read(LinkKind::Helm);
        };
        let values = Values {
            chart: &deployed.chart,
            given: &deployed.given,
        };
        let value = match values.stated(path) {
            AtPath::Given(node) | AtPath::Default(node) => shown(node),
            AtPath::Nothing => "null".to_owned(),
            AtPath::Opaque => "(not shown)".to_owned(),
        };
        let release = &deployed.release;
        let place = format!("release {}, revision {}", release.name, release.revision);
        let is_complete = self
            .sources
            .git
            .is_some_and(|git| git.complete.contains(self.sources.cluster));
        let differs = git.filter(|git| git.value.as_deref() != Some(&value) && is_complete);
        let state = if let Some(git) = differs {
            let said = git.value.as_deref().unwrap_or_default();
            let since = match &release.last_deployed {
                Some(at) => format!(", deployed {at}"),
                None => String::new(),
            };
            let why = if is_stated {
                format!("Git says `{said}`, and {place}{since} has `{value}`: what Git says is not installed")
            } else {
                format!("no file states it, and {place}{since} has `{value}`: it was given by hand")
            };
            *broken = Some(self.break_at(LinkKind::Helm, why, &self.sources.next.install));
            LinkState::Broken
        } else {
            LinkState::Holds
        };
        link(LinkKind::Helm, state, value, Some(place))
    }

    fn break_at(&self, at: LinkKind, why: String, next: &str) -> Break {
        Break {
            at,
            why,
            next: next.to_owned(),
        }
    }

    fn objects(&self, row: Option<&Row>, keys: &[String], broken: &mut Option<Break>) -> Link {
        if let Some(drifted) = self.drifted.iter().find(|one| keys.contains(&one.what)) {
            let value = format!("{} {}", drifted.what, self.text(&drifted.what, drifted.live.as_deref()));
            let why = self.why_drifted(drifted);
            broken.get_or_insert_with(|| self.break_at(LinkKind::Live, why, &self.sources.next.put_back));
            return link(LinkKind::Live, LinkState::Broken, value, Some(self.config_place()));
        }
        let first = keys.iter().find(|key| self.config.contains_key(*key)).or(keys.first());
        if let Some(key) = first {
            let value = self.text(key, self.config.get(key).map(String::as_str));
            let place = format!("{}, {key}", self.config_place());
            return link(LinkKind::Live, LinkState::Holds, value, Some(place));
        }
        match row
            .filter(|row| row.value.ends_with(".replicas"))
            .and_then(|row| row.objects.first())
        {
            Some(object) => self.replicas(object, broken),
            None => not_read(LinkKind::Live),
        }
    }

    /// The replicas of the object that a claim is about, `Deployment kube-system/cilium-operator`.
    fn replicas(&self, object: &str, broken: &mut Option<Break>) -> Link {
        let (kind, name) = object.split_once(' ').unwrap_or(("", object));
        let name = name.rsplit('/').next().unwrap_or(name);
        let Some(live) = self.sources.reading.workload(kind, name) else {
            return not_read(LinkKind::Live);
        };
        let has = live["spec"]["replicas"].to_string();
        let rendered = self
            .rendered(kind, name)
            .map(|rendered| rendered["spec"]["replicas"].to_string());
        let place = format!("{kind} {}/{name}", self.sources.reading.namespace);
        let differs = rendered.filter(|rendered| *rendered != has);
        let state = if let Some(rendered) = differs {
            let by = changed(drift::writer(live, &["f:spec", "f:replicas"]).as_ref());
            let why = format!("the release rendered {rendered} replicas, and {place} has {has}{by}");
            broken.get_or_insert_with(|| self.break_at(LinkKind::Live, why, &self.sources.next.put_back));
            LinkState::Broken
        } else {
            LinkState::Holds
        };
        link(LinkKind::Live, state, has, Some(place))
    }

    fn config_place(&self) -> String {
        format!("ConfigMap {}/cilium-config", self.sources.reading.namespace)
    }

    /// A text of `cilium-config`; of keys that the table does not know only whether they are there.
    fn text(&self, key: &str, text: Option<&str>) -> String {
        match text {
            None => "absent".to_owned(),
            Some("") => "\"\"".to_owned(),
            Some(text) if self.prediction.keys().any(|known| known == key) => text.to_owned(),
            Some(_) => "(not shown)".to_owned(),
        }
    }

    fn why_drifted(&self, drifted: &Difference) -> String {
        let key = &drifted.what;
        let (before, now) = (
            self.text(key, drifted.rendered.as_deref()),
            self.text(key, drifted.live.as_deref()),
        );
        let expected = match &self.deployed {
            Some(deployed) => format!(
                "release {}, revision {}, rendered",
                deployed.release.name, deployed.release.revision
            ),
            None => "the chart makes of the files".to_owned(),
        };
        let by = changed(drifted.by.as_ref());
        format!(
            "{expected} `{key}` as {before}, and in {} it is {now}{by}",
            self.config_place()
        )
    }

    fn agents(&mut self, keys: &[String], broken: &mut Option<Break>) -> Link {
        let agents = follow::agents(self.sources.reading, &self.config, keys);
        self.found.compared += agents.compared.len();
        if agents.compared.is_empty() {
            return not_read(LinkKind::Agents);
        }
        let all = agents.compared.len();
        if let Some(why) = self.why_odd(&agents) {
            let odd: BTreeSet<_> = agents.odd.iter().map(|odd| &odd.node).collect();
            broken.get_or_insert_with(|| self.break_at(LinkKind::Agents, why, &self.sources.next.restart));
            let value = format!("{} of {all}", all - odd.len());
            return link(LinkKind::Agents, LinkState::Broken, value, None);
        }
        let shown = agents.shown.unwrap_or_default();
        link(LinkKind::Agents, LinkState::Holds, format!("{shown} on {all}"), None)
    }

    fn why_odd(&self, agents: &Agents) -> Option<String> {
        let first = agents.odd.first()?;
        let nodes: BTreeSet<&str> = agents.odd.iter().map(|odd| odd.node.as_str()).collect();
        let nodes: Vec<_> = nodes.into_iter().collect();
        let configured = self.text(&first.key, self.config.get(&first.key).map(String::as_str));
        let own = match follow::node_config(self.sources.reading, &first.key) {
            Some(name) => format!("; CiliumNodeConfig {name} sets it for some nodes"),
            None => String::new(),
        };
        Some(format!(
            "`{}` is {configured} in {}, and the agent on {} runs with `{}` ({}){own}",
            first.key,
            self.config_place(),
            nodes.join(", "),
            first.shown,
            first.place
        ))
    }

    /// What differs of keys that no claim is about.
    fn other_keys(&mut self) {
        let told: BTreeSet<String> = {
            let rows = self.found.all.iter().filter_map(|chain| self.table.row(&chain.claim));
            rows.flat_map(|row| row.config_keys.iter().map(|key| (*key).to_owned()))
                .collect()
        };
        let drifted = self.drifted.iter().map(|one| one.what.clone());
        let shown = meshproof_claims::agent::table()
            .iter()
            .map(|shown| shown.key.to_owned());
        let keys: BTreeSet<String> = drifted.chain(shown).filter(|key| !told.contains(key)).collect();
        for key in keys {
            let (mut broken, keys) = (None, [key]);
            let objects = self.objects(None, &keys, &mut broken);
            let agents = self.agents(&keys, &mut broken);
            let [key] = keys;
            if broken.is_none() {
                continue;
            }
            let claimed = self
                .table
                .rows()
                .iter()
                .find(|row| row.config_keys.contains(&key.as_str()));
            let links = vec![objects, agents];
            self.found.all.push(Chain {
                cluster: self.sources.cluster.clone(),
                claim: claimed.map_or_else(|| format!("cilium-config {key}"), |row| row.value.clone()),
                links,
                broken,
                source: None,
                checks: Vec::new(),
            });
        }
    }
}

/// Whether agents show what they took from a key.
fn is_shown(key: &str) -> bool {
    meshproof_claims::agent::of_key(key).next().is_some()
}

fn changed(by: Option<&Change>) -> String {
    by.map_or_else(String::new, |by| format!(", last changed by {by}"))
}
