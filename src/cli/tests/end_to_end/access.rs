//! Who may do what: wrong tokens, missing rights, the rights that are enough, and two runs at once.

use crate::{
    Result,
    clusters::{CONTEXTS, Clusters},
    command::QUICK,
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

type Test = fn(&Clusters) -> Result<()>;

pub const ALL: &[(&str, Test)] = &[
    ("an_expired_token_is_an_error_with_the_next_step", an_expired_token),
    ("doctor_says_whether_a_run_can_start", doctor),
    ("a_forbidden_verb_is_an_error_with_its_object", a_forbidden_verb),
    ("the_printed_rights_are_enough", the_printed_rights_are_enough),
    ("the_second_of_two_runs_says_who_holds_the_lease", two_runs_at_once),
    ("an_image_that_no_node_has_is_an_error", an_unknown_image),
];

fn an_expired_token(clusters: &Clusters) -> Result<()> {
    let kubeconfig = clusters.kubeconfig_with(|_| "expired".to_owned())?;
    let meshproof = clusters.meshproof()?.with_kubeconfig(kubeconfig);
    let ended = meshproof
        .run(&QUICK)?
        .with(3)?
        .printing("does not accept the credentials")?;
    ended.printing("auth whoami")?;
    clusters.hold_nothing()
}

fn a_forbidden_verb(clusters: &Clusters) -> Result<()> {
    let tokens = tokens(clusters, "nobody-in-particular", None)?;
    let kubeconfig = clusters.kubeconfig_with(|user| tokens[user].clone())?;
    let meshproof = clusters.meshproof()?.with_kubeconfig(kubeconfig);
    meshproof.run(&QUICK)?.with(3)?.printing("not allowed to")?;
    clusters.hold_nothing()
}

const DOCTOR: [&str; 5] = ["doctor", "--infra-context", "infra", "--apps-context", "apps"];

fn doctor(clusters: &Clusters) -> Result<()> {
    let words = [&DOCTOR[..], &["--image", meshproof_lab::AGENT_IMAGE]].concat();
    let begun = Instant::now();
    let ended = clusters.meshproof()?.ran(&words)?.with(0)?;
    let took = begun.elapsed();
    ended
        .printing("is on 3 of 3 nodes")?
        .printing("the user may do all that `meshproof rbac` lists")?
        .printing("connectivity")?
        .printing("a run can start")?;
    if took > Duration::from_secs(10) {
        return Err(format!("doctor took {took:?}"));
    }
    let words = [
        &DOCTOR[..],
        &["--image", "example.invalid/nothing:1", "--pull-policy", "Never"],
    ]
    .concat();
    let ended = clusters.meshproof()?.ran(&words)?.with(2)?;
    ended.printing("is on 0 of 3 nodes, and the pull policy is Never")?;
    let tokens = tokens(clusters, "nobody-for-doctor", None)?;
    let kubeconfig = clusters.kubeconfig_with(|user| tokens[user].clone())?;
    let ended = clusters
        .meshproof()?
        .with_kubeconfig(kubeconfig)
        .ran(&DOCTOR)?
        .with(2)?;
    ended
        .printing("the user may not get namespaces")?
        .printing("meshproof rbac | kubectl --context infra apply -f -")?;
    clusters.hold_nothing()
}

fn the_printed_rights_are_enough(clusters: &Clusters) -> Result<()> {
    let tokens = tokens(clusters, "meshproof", Some(meshproof_cluster::rights::cluster_role()))?;
    let kubeconfig = clusters.kubeconfig_with(|user| tokens[user].clone())?;
    let meshproof = clusters.meshproof()?.with_kubeconfig(kubeconfig);
    meshproof.run(&QUICK)?.with(0)?;
    clusters.hold_nothing()
}

fn tokens(
    clusters: &Clusters,
    account: &str,
    role: Option<serde_json::Value>,
) -> Result<BTreeMap<&'static str, String>> {
    CONTEXTS
        .into_iter()
        .map(|context| Ok((context, clusters.token(context, account, role.clone())?)))
        .collect()
}

fn two_runs_at_once(clusters: &Clusters) -> Result<()> {
    let (first, second) = (clusters.meshproof()?, clusters.meshproof()?);
    let running = first.start(&["connectivity::"])?;
    first.wait_for_event("\"checking\"")?;
    let refused = second.run(&QUICK)?.with(3)?.printing("Lease")?.printing("since")?;
    let holder = first.latest("")?;
    let run = holder
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or("a run without a name")?;
    refused.printing(run)?;
    // The first never noticed.
    running.end()?.with(0)?;
    clusters.hold_nothing()
}

fn an_unknown_image(clusters: &Clusters) -> Result<()> {
    let meshproof = clusters.meshproof()?;
    let image = "example.invalid/nothing:1";
    let mut words = vec![
        "run",
        "--infra-context",
        "infra",
        "--apps-context",
        "apps",
        "--image",
        image,
    ];
    words.push("http_same_node");
    let ended = meshproof.ran(&words)?;
    ended.with(3)?.printing(image)?.printing("Image")?;
    clusters.hold_nothing()
}
