//! How much the data path carries: small packets a second and round trips, pod to pod on another node.
//!
//! `cargo bench -p meshproof-datapath`. No statistics framework: what is measured is the whole machine, kernel
//! included, and the figures are read as orders of magnitude.

use meshproof_datapath::{
    Encryption, Fabric, FabricConfig, Identity, LinkProfile, Node, NodeConfig, NodeHandle, PodConfig, PodNet,
    netns::{self, Isolation, Namespace},
};
use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const FLOOD: Duration = Duration::from_secs(3);
const ROUNDS: usize = 5000;

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    netns::enter(Isolation::Auto).unwrap_or_else(|error| panic!("{error}"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(boot());
    for (name, encryption) in [("WireGuard", Encryption::default()), ("unencrypted", Encryption::None)] {
        let start = Instant::now();
        let (nodes, pods) = runtime.block_on(lab(encryption));
        println!("{name}: two nodes with a pod each in {:.1?}", start.elapsed());
        round_trips(&pods);
        flood(&pods);
        for node in &nodes {
            let counters = runtime.block_on(node.counters());
            println!(
                "  {}: {} packets lost before they were read",
                node.name(),
                counters.overruns
            );
        }
    }
}

/// Six nodes with eight pods each, started as the lab starts them: all at once.
async fn boot() {
    let fabric = Fabric::new(FabricConfig::default()).expect("a fabric");
    let start = Instant::now();
    let nodes = (1..=6u8).map(|n| {
        let cidr = format!("10.244.{n}.0/24").parse().expect("a CIDR");
        let config = NodeConfig::new(format!("node-{n}"), "infra", Ipv4Addr::new(10, 25, 11, 10 + n), cidr);
        let fabric = &fabric;
        async move { Node::start(config, fabric).await.expect("a node") }
    });
    let nodes = futures::future::join_all(nodes).await;
    let nodes_up = start.elapsed();
    let pods = nodes.iter().zip(1u8..).flat_map(|(node, n)| {
        (10..18).map(move |last| {
            let address = Ipv4Addr::new(10, 244, n, last);
            let pod = PodConfig {
                name: format!("bench/{address}").into(),
                address,
                identity: Identity(1000),
            };
            async move { node.add_pod(pod).await.expect("a pod") }
        })
    });
    let pods = futures::future::join_all(pods).await;
    let pods_up = start.elapsed() - nodes_up;
    println!(
        "boot: {} nodes in {nodes_up:.0?}, {} pods in {pods_up:.0?}",
        nodes.len(),
        pods.len()
    );
}

async fn lab(encryption: Encryption) -> (Vec<NodeHandle>, Vec<PodNet>) {
    let between_clusters = LinkProfile {
        latency: Duration::ZERO,
    };
    let fabric = Fabric::new(FabricConfig {
        between_clusters,
        ..FabricConfig::default()
    })
    .expect("a fabric");
    let (mut nodes, mut pods) = (Vec::new(), Vec::new());
    for n in 1..=2u8 {
        let cidr = format!("10.244.{n}.0/24").parse().expect("a CIDR");
        let mut config = NodeConfig::new(format!("node-{n}"), "infra", Ipv4Addr::new(10, 25, 11, 10 + n), cidr);
        config.encryption = encryption;
        config.cluster_pod_cidrs = vec!["10.244.0.0/16".parse().expect("a CIDR")];
        let node = Node::start(config, &fabric).await.expect("a node");
        let address = Ipv4Addr::new(10, 244, n, 10);
        let pod = PodConfig {
            name: format!("bench/{n}").into(),
            address,
            identity: Identity(1000),
        };
        pods.push(node.add_pod(pod).await.expect("a pod"));
        nodes.push(node);
    }
    nodes[0].set_peers(vec![nodes[1].as_peer()]);
    nodes[1].set_peers(vec![nodes[0].as_peer()]);
    (nodes, pods)
}

fn socket(namespace: &Namespace, port: u16) -> UdpSocket {
    let socket = namespace
        .within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))
        .expect("inside")
        .expect("bound");
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("a timeout");
    socket
}

fn round_trips(pods: &[PodNet]) {
    let (client, server) = (socket(pods[0].namespace(), 0), socket(pods[1].namespace(), 7));
    client
        .connect(SocketAddrV4::new(pods[1].address(), 7))
        .expect("connected");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 64];
            for _ in 0..ROUNDS + 100 {
                let Ok((len, from)) = server.recv_from(&mut buffer) else {
                    return;
                };
                server.send_to(&buffer[..len], from).expect("answered");
            }
        });
        let mut times: Vec<Duration> = (0..ROUNDS + 100)
            .map(|_| {
                let start = Instant::now();
                client.send(&[0; 32]).expect("sent");
                client.recv(&mut [0; 64]).expect("an answer");
                start.elapsed()
            })
            .skip(100)
            .collect();
        times.sort_unstable();
        println!(
            "  round trip: median {:.1?}, p99 {:.1?}",
            times[ROUNDS / 2],
            times[ROUNDS * 99 / 100]
        );
    });
}

/// CPU time of the nodes' threads so far.
fn node_cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("the threads of this process");
    let ticks: u64 = tasks
        .filter_map(|task| {
            let stat = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
            let (head, fields) = stat.rsplit_once(')')?;
            let fields: Vec<&str> = fields.split_whitespace().collect();
            head.contains("(node ")
                .then(|| Some(fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?))?
        })
        .sum();
    Duration::from_millis(ticks * 10)
}

fn flood(pods: &[PodNet]) {
    let (client, server) = (socket(pods[0].namespace(), 0), socket(pods[1].namespace(), 9));
    client
        .connect(SocketAddrV4::new(pods[1].address(), 9))
        .expect("connected");
    let (received, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let counter = {
        let (received, stop) = (received.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if server.recv(&mut [0; 64]).is_ok() {
                    received.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    };
    let (start, cpu) = (Instant::now(), node_cpu());
    let mut sent = 0u64;
    while start.elapsed() < FLOOD {
        // Not further ahead than queues are deep: lost packets cost as much as others and count for nothing.
        if sent < received.load(Ordering::Relaxed) + 512 {
            client.send(&[0; 32]).expect("sent");
            sent += 1;
        } else if start.elapsed().as_millis() % 100 == 99 {
            sent = received.load(Ordering::Relaxed);
        } else {
            std::thread::yield_now();
        }
    }
    let (elapsed, cpu) = (start.elapsed(), node_cpu() - cpu);
    stop.store(true, Ordering::Relaxed);
    counter.join().expect("the counter does not panic");
    let received = received.load(Ordering::Relaxed) as f64;
    println!(
        "  small packets: {:.0} a second; {:.0} for each second of the nodes' CPU time",
        received / elapsed.as_secs_f64(),
        received / cpu.as_secs_f64()
    );
}
