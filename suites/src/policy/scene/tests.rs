//! Scenes on an environment that writes down what is applied and deleted.

use super::*;
use crate::testing::infra;
use async_trait::async_trait;
use meshproof_contract::{Environment, Facts, RunShared};

/// What was called, by the objects' kinds and how many rules they hold.
#[derive(Default)]
struct Written(Mutex<Vec<String>>);

#[async_trait]
impl Environment for Written {
    fn facts(&self) -> Arc<Facts> {
        Arc::default()
    }
    async fn apply(&self, _: &ClusterName, object: Value) -> Result<Value, EnvironmentError> {
        let rules = object["specs"].as_array().map_or(1, Vec::len);
        self.write(format!(
            "apply {rules} of {}",
            object["kind"].as_str().unwrap_or_default()
        ));
        Ok(object)
    }
    async fn delete(&self, _: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        self.write(format!("delete {}", object.kind));
        Ok(())
    }
}

impl Written {
    fn write(&self, call: String) {
        self.0.lock().expect("no panic").push(call);
    }
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

struct Run {
    written: Arc<Written>,
    context: CheckContext,
    groups: Vec<SubjectGroup>,
}

/// So many cases under way in one run.
async fn run(cases: usize) -> Run {
    let (written, shared) = (Arc::new(Written::default()), Arc::new(RunShared::default()));
    let groups = SubjectGroup::borrow(&shared, &"infra".into(), cases).await;
    Run {
        context: CheckContext::new(written.clone(), infra()).sharing(shared),
        written,
        groups,
    }
}

fn policy(label: &str) -> Value {
    let spec = json!({"endpointSelector": {"matchLabels": {"subject": label}}, "ingress": [{}]});
    object::named(object::cilium(spec), "meshproof")
}

async fn joined(run: &Run) -> (Member, Member) {
    tokio::join!(
        Member::join(&run.context, &run.groups[0], vec![policy("a")]),
        Member::join(&run.context, &run.groups[1], vec![policy("b")]),
    )
}

#[tokio::test(start_paused = true)]
async fn cases_that_are_ready_together_share_an_object_from_its_creation_to_its_deletion() {
    let (run, begun) = (run(2).await, Instant::now());
    let (one, other) = joined(&run).await;
    assert_eq!((one.companions(), other.companions()), (1, 1));
    assert_eq!(Instant::now(), begun, "nobody else is under way");
    let (first, second) = tokio::join!(one.enforce(&run.context), other.enforce(&run.context));
    let (first, second) = (first.expect("applied"), second.expect("applied"));
    assert_eq!((first.since, first.names()), (second.since, second.names()));
    assert_eq!(run.written.take(), ["apply 2 of CiliumNetworkPolicy"]);
    let mut early = std::pin::pin!(one.leave(&run.context, true));
    let waited = tokio::time::timeout(Duration::from_secs(1), early.as_mut()).await;
    assert!(
        waited.is_err() && run.written.take().is_empty(),
        "the other one needs it"
    );
    let (one, other) = tokio::join!(early, other.leave(&run.context, false));
    assert_eq!(
        (one.clone().expect("ended"), run.written.take()),
        (other.expect("ended"), vec!["delete CiliumNetworkPolicy".to_owned()])
    );
    assert!(!one.expect("ended").without_effect, "one of them saw it");
}

#[tokio::test(start_paused = true)]
async fn an_object_of_several_that_nobody_saw_in_force_is_told() {
    let run = run(2).await;
    let (one, other) = joined(&run).await;
    let _ = tokio::join!(one.enforce(&run.context), other.enforce(&run.context));
    let (one, other) = tokio::join!(one.leave(&run.context, false), other.leave(&run.context, false));
    assert!(one.expect("ended").without_effect && other.expect("ended").without_effect);
    let alone = Member::alone(&"infra".into(), vec![policy("a")]);
    alone.enforce(&run.context).await.expect("applied");
    let ended = alone.leave(&run.context, false).await.expect("ended");
    assert!(!ended.without_effect, "nobody else can be the cause");
}

#[tokio::test(start_paused = true)]
async fn a_case_waits_a_second_for_others_and_not_for_those_that_return_their_pods() {
    let mut run = run(3).await;
    let begun = Instant::now();
    let member = Member::join(&run.context, &run.groups[0], vec![policy("a")]).await;
    assert_eq!((member.companions(), begun.elapsed()), (0, JOINED_WITHIN));
    let begun = Instant::now();
    let returned = run.groups.split_off(1);
    let late = Member::join(&run.context, &run.groups[0], vec![policy("a")]);
    let (member, ()) = tokio::join!(late, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(returned);
    });
    assert_eq!((member.companions(), begun.elapsed()), (0, Duration::from_millis(100)));
}

#[tokio::test(start_paused = true)]
async fn others_know_when_the_trial_that_applied_the_object_was_ended() {
    let run = run(2).await;
    let (one, other) = joined(&run).await;
    one.enforce(&run.context).await.expect("applied");
    other.enforce(&run.context).await.expect("applied");
    drop(one);
    assert!(other.leave(&run.context, true).await.expect("ended").abandoned);
}

#[test]
fn policies_are_put_into_the_fewest_objects_that_keep_their_meaning() {
    let kubernetes = object::named(object::kubernetes(json!({"podSelector": {}})), "meshproof");
    let cases = [vec![policy("a"), policy("a")], vec![policy("b")], vec![kubernetes]];
    let objects = merged(&cases);
    let kinds: Vec<&str> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
    assert_eq!(kinds, ["NetworkPolicy", "CiliumNetworkPolicy", "CiliumNetworkPolicy"]);
    let bundle = objects[1]["specs"].as_array().expect("several");
    assert_eq!(bundle.len(), 2);
    assert_eq!(bundle[1]["description"], cases[1][0]["metadata"]["name"]);
    assert_eq!(objects[2], cases[0][1], "alone as it was written");
}
