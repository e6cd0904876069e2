//! EndpointSlices that lack a ready pod, or have what is no pod's.

use super::{
    expect,
    recorded::{object, slice_of, world},
};
use crate::{state::backends::Backends, testing::Fake};
use serde_json::{Value, json};

/// The world with the EndpointSlice of `demo/echo` of infra changed.
fn slice(change: impl Fn(&mut Value)) -> Fake {
    let mut slice = slice_of("infra", "echo");
    let name = slice["metadata"]["name"].as_str().expect("a name").to_owned();
    change(&mut slice);
    world()
        .without_object("infra", "EndpointSlice", &name)
        .object("infra", slice)
}

#[tokio::test(start_paused = true)]
async fn an_address_that_no_pod_has_is_red() {
    let more = slice(|slice| {
        let endpoint = json!({"addresses": ["10.244.2.99"], "conditions": {"ready": true}, "nodeName": "infra-2"});
        slice["endpoints"].as_array_mut().expect("endpoints").push(endpoint);
    });
    let text = expect(more, &Backends, "fail").await;
    assert!(
        text.contains("EndpointSlices of Service demo/echo")
            && text.contains("keeps 10.244.2.99, which no pod of it has"),
        "{text}"
    );
    // Slices that others write may name what they like.
    let own = slice(|slice| {
        slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] = json!("by-hand");
        let endpoint = json!({"addresses": ["10.25.12.99"], "conditions": {"ready": true}});
        slice["endpoints"].as_array_mut().expect("endpoints").push(endpoint);
    });
    expect(own, &Backends, "pass").await;
}

#[tokio::test(start_paused = true)]
async fn a_ready_pod_that_is_left_out_is_red_and_an_unready_one_that_is_there() {
    let fewer = slice(|slice| drop(slice["endpoints"].as_array_mut().expect("endpoints").pop()));
    let text = expect(fewer, &Backends, "fail").await;
    assert!(
        text.contains("pod echo-") && text.contains("in an EndpointSlice, since it is ready | observed missing"),
        "{text}"
    );
    let mut pod = object("infra", "Pod", "echo-");
    let name = pod["metadata"]["name"].as_str().expect("a name").to_owned();
    pod["status"]["conditions"][0]["status"] = json!("False");
    let unready = world().without_object("infra", "Pod", &name).object("infra", pod);
    let text = expect(unready, &Backends, "fail").await;
    assert!(
        text.contains(&format!("pod {name} (")) && text.contains("observed ready"),
        "{text}"
    );
}
