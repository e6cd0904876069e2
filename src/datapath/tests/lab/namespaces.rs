//! Namespaces: processes start inside, and nothing stays behind.

use crate::fixture::{INFRA_1, Lab, wait};
use meshproof_datapath::{
    Fabric, FabricConfig, FabricError, Node, NodeConfig, NodeError, PodConfig, PodError, PodNet, netns::Namespace,
};
use std::process::{Command, Stdio};

pub const CASES: &[(&str, fn())] = &[
    ("namespaces::a_process_starts_inside", a_process_starts_inside),
    (
        "namespaces::pods_may_not_ping_unless_told",
        pods_may_not_ping_unless_told,
    ),
    ("namespaces::names_and_addresses_are_taken_once", taken_once),
    ("namespaces::a_node_that_shut_down_says_so", shut_down),
];

fn own(namespace: &Namespace) -> String {
    let link = namespace
        .within(|| std::fs::read_link("/proc/thread-self/ns/net"))
        .expect("inside");
    link.expect("a namespace").to_string_lossy().into_owned()
}

fn a_process_starts_inside() {
    let lab = Lab::new();
    for namespace in [lab.pod(INFRA_1, 0).namespace(), lab.node(INFRA_1).namespace()] {
        let mut command = Command::new("cat");
        command.arg("/proc/net/dev").stdout(Stdio::piped());
        let output = namespace
            .spawn(command)
            .expect("started")
            .wait_with_output()
            .expect("ended");
        let devices = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(devices.contains("eth0"), "{devices}");
        let has_host_side = devices.contains("cilium_host") && devices.contains("lxc0af4010a");
        assert_eq!(
            has_host_side,
            own(namespace) == own(lab.node(INFRA_1).namespace()),
            "{devices}"
        );

        let mut command = tokio::process::Command::new("cat");
        command.arg("/proc/net/dev").stdout(Stdio::piped());
        let output = wait(async {
            namespace
                .spawn_tokio(command)
                .expect("started")
                .wait_with_output()
                .await
        });
        assert!(String::from_utf8_lossy(&output.expect("ended").stdout).contains("eth0"));
    }
    let inside = lab
        .pod(INFRA_1, 0)
        .namespace()
        .run("inside", || std::fs::read_link("/proc/thread-self/ns/net"));
    let inside = inside
        .expect("a thread")
        .join()
        .expect("no panic")
        .expect("inside")
        .expect("a namespace");
    assert_eq!(inside.to_string_lossy(), own(lab.pod(INFRA_1, 0).namespace()));
}

fn taken_once() {
    let lab = Lab::new();
    let config = lab.node(INFRA_1).config().clone();
    let again = wait(Node::start(config.clone(), &lab.fabric)).expect_err("the name is taken");
    assert!(matches!(again, NodeError::Fabric(FabricError::NameTaken(_))), "{again}");
    let again = wait(Node::start(
        NodeConfig {
            name: "other".into(),
            ..config
        },
        &lab.fabric,
    ))
    .expect_err("taken");
    assert!(
        matches!(again, NodeError::Fabric(FabricError::AddressTaken(_))),
        "{again}"
    );
    let address = lab.pod(INFRA_1, 0).address();
    let again = wait(lab.node(INFRA_1).add_pod(pod(address))).expect_err("the address is taken");
    assert!(matches!(again, PodError::AddressTaken { .. }), "{again}");
}

fn pods_may_not_ping_unless_told() {
    const RANGE: &str = "/proc/sys/net/ipv4/ping_group_range";
    let lab = Lab::new();
    let pod = lab.pod(INFRA_1, 0);
    let range = || {
        let read = pod.namespace().within(|| std::fs::read_to_string(RANGE));
        read.expect("inside").expect("a range").replace('\t', " ")
    };
    assert_eq!(range().trim(), "1 0", "the kernel's own: nobody");
    wait(pod.set_sysctl("ipv4/ping_group_range", "0 0"));
    // Containers mount `/proc/sys` read-only.
    let writable = std::fs::OpenOptions::new().write(true).open(RANGE).is_ok();
    assert_eq!(range().trim(), if writable { "0 0" } else { "1 0" });
}

fn pod(address: std::net::Ipv4Addr) -> PodConfig {
    PodConfig {
        name: "demo/again".into(),
        address,
        identity: meshproof_datapath::Identity(1),
    }
}

fn shut_down() {
    wait(async {
        let fabric = Fabric::new(FabricConfig::default()).expect("a fabric");
        let cidr = "10.244.1.0/24".parse().expect("a CIDR");
        let config = NodeConfig::new("alone", "infra", [10, 25, 11, 11].into(), cidr);
        let node = Node::start(config.clone(), &fabric).await.expect("a node");
        let held: PodNet = node.add_pod(pod([10, 244, 1, 10].into())).await.expect("a pod");
        node.shutdown().await;
        let gone = node.add_pod(pod([10, 244, 1, 11].into())).await.expect_err("shut down");
        assert!(matches!(gone, PodError::NodeGone(_)), "{gone}");
        assert_eq!(node.counters().await, Default::default());
        let again = Node::start(config, &fabric)
            .await
            .expect("its name and address are free again");
        again.shutdown().await;
        drop(held);
    });
}
