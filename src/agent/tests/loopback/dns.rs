//! DNS outcomes, against a server that answers as each test says.

use crate::{
    agent::{Agent, SHORT, Start},
    far_side,
};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, RecordType as Type, rdata},
};
use meshproof_contract::{
    Action, DnsAnswer, DnsCode, Outcome, RecordType, Target, Transport, port,
    probe::{Connection, Search},
};
use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

/// A DNS server on UDP and TCP of one address.
fn server(at: &str, answer: fn(&mut Message, &str, Type, Transport)) -> SocketAddr {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind(at).expect("binds");
        let address = udp.local_addr().expect("bound");
        // The same number may be taken on TCP.
        if let Ok(tcp) = TcpListener::bind(address) {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().expect("bound");
    let respond = move |query: &[u8], transport| {
        let query = Message::from_vec(query).expect("a query");
        let question = query.queries[0].clone();
        let mut response = Message::response(query.metadata.id, query.metadata.op_code);
        response.add_query(question.clone());
        answer(
            &mut response,
            &question.name.to_string(),
            question.query_type,
            transport,
        );
        response.to_vec().expect("encodes")
    };
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(&respond(&buffer[..length], Transport::Udp), from);
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut length = [0; 2];
            stream.read_exact(&mut length).expect("length");
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query).expect("query");
            let response = respond(&query, Transport::Tcp);
            stream.write_all(&(response.len() as u16).to_be_bytes()).expect("sends");
            stream.write_all(&response).expect("sends");
        }
    });
    address
}

fn zone(response: &mut Message, name: &str, record: Type, transport: Transport) {
    let owner = Name::from_ascii(name).expect("a name");
    let mut add = |data| {
        response.add_answer(Record::from_rdata(owner.clone(), 5, data));
    };
    let name_of = |name: &str| Name::from_ascii(name).expect("a name");
    match (name, record) {
        ("server.meshproof.svc.cluster.local.", Type::A) => add(RData::A(rdata::A::new(127, 0, 0, 7))),
        ("both.meshproof.svc.cluster.local.", Type::A) => {
            add(RData::CNAME(rdata::CNAME(name_of(
                "Server.meshproof.svc.cluster.local.",
            ))));
            add(RData::A(rdata::A::new(127, 0, 0, 7)));
            add(RData::A(rdata::A::new(127, 0, 0, 8)));
        }
        ("both.meshproof.svc.cluster.local.", Type::CNAME) => add(RData::CNAME(rdata::CNAME(name_of(
            "Server.meshproof.svc.cluster.local.",
        )))),
        ("_http._tcp.server.", Type::SRV) => add(RData::SRV(rdata::SRV::new(0, 100, 8080, name_of("pod-1.server.")))),
        ("7.0.0.127.in-addr.arpa.", Type::PTR) => add(RData::PTR(rdata::PTR(name_of("pod-1.Server.")))),
        ("large.", Type::A) if transport == Transport::Udp => response.metadata.truncation = true,
        ("large.", Type::A) => (0..100).for_each(|n| add(RData::A(rdata::A::new(10, 0, 0, n)))),
        ("server.meshproof.svc.cluster.local." | "empty.", _) => {}
        ("broken.", _) => response.metadata.response_code = ResponseCode::ServFail,
        ("forbidden.", _) => response.metadata.response_code = ResponseCode::Refused,
        _ => response.metadata.response_code = ResponseCode::NXDomain,
    }
}

fn ask(name: &str, record: RecordType, server: SocketAddr, transport: Transport) -> Action {
    Action::Dns {
        name: name.into(),
        record,
        server: Some(server),
        transport,
        search: Search::Absolute,
    }
}

fn dns(outcome: Outcome) -> (DnsCode, Vec<DnsAnswer>) {
    match outcome {
        Outcome::Dns {
            code,
            answers,
            server,
            timing,
        } => {
            assert!(server.is_loopback());
            assert!(timing.total > 0);
            (code, answers)
        }
        other => panic!("expected a DNS answer, got {other:?}"),
    }
}

#[test]
fn records_come_typed_over_both_transports() {
    let agent = Agent::start();
    let server = server("127.0.0.1:0", zone);
    let address = |n| DnsAnswer::Address(IpAddr::from([127, 0, 0, n]));
    let name = |name: &str| DnsAnswer::Name(name.into());
    for transport in [Transport::Udp, Transport::Tcp] {
        for (asked, record, expected) in [
            ("server.meshproof.svc.cluster.local.", RecordType::A, vec![address(7)]),
            ("server.meshproof.svc.cluster.local", RecordType::Aaaa, vec![]),
            (
                "both.meshproof.svc.cluster.local.",
                RecordType::A,
                vec![address(7), address(8)],
            ),
            (
                "both.meshproof.svc.cluster.local.",
                RecordType::Cname,
                vec![name("server.meshproof.svc.cluster.local.")],
            ),
            (
                "_http._tcp.server.",
                RecordType::Srv,
                vec![DnsAnswer::Service {
                    target: "pod-1.server.".into(),
                    port: 8080,
                }],
            ),
            ("127.0.0.7", RecordType::Ptr, vec![name("pod-1.server.")]),
            ("7.0.0.127.in-addr.arpa.", RecordType::Ptr, vec![name("pod-1.server.")]),
            (
                "large.",
                RecordType::A,
                (0..100)
                    .map(|n| DnsAnswer::Address(IpAddr::from([10, 0, 0, n])))
                    .collect(),
            ),
        ] {
            let outcome = agent.probe(ask(asked, record, server, transport));
            assert_eq!(
                dns(outcome),
                (DnsCode::NoError, expected),
                "{asked} {record:?} over {transport}"
            );
        }
        for (asked, code) in [
            ("absent.", DnsCode::NxDomain),
            ("broken.", DnsCode::ServFail),
            ("forbidden.", DnsCode::Refused),
            ("empty.", DnsCode::NoError),
        ] {
            assert_eq!(
                dns(agent.probe(ask(asked, RecordType::A, server, transport))),
                (code, vec![]),
                "{asked}"
            );
        }
    }
}

#[test]
fn silence_refusal_and_nonsense_are_told_apart() {
    let agent = Agent::start();
    let closed = SocketAddr::from(([127, 0, 0, 1], far_side::closed_port()));
    let question = |server, transport| ask("a.", RecordType::A, server, transport);
    let silent = UdpSocket::bind("127.0.0.1:0").expect("binds");
    let outcome = agent.probe_within(question(silent.local_addr().expect("bound"), Transport::Udp), SHORT);
    assert!(matches!(outcome, Outcome::Timeout { .. }), "{outcome:?}");
    for transport in [Transport::Udp, Transport::Tcp] {
        let outcome = agent.probe(question(closed, transport));
        assert!(matches!(outcome, Outcome::Refused { .. }), "{transport}: {outcome:?}");
    }
    let strange = SocketAddr::from(([127, 0, 0, 1], far_side::says(b"\0\x0cnot a message")));
    let outcome = agent.probe(question(strange, Transport::Tcp));
    assert!(matches!(outcome, Outcome::Corrupted { .. }), "{outcome:?}");
    assert!(agent.probe(question(closed, Transport::Udp)).total().is_some());
    let bad = ask(&"x".repeat(70), RecordType::A, closed, Transport::Udp);
    assert!(agent.probe(bad).is_local_error());
}

/// Only root may serve port 53; elsewhere these checks of the pod's own resolver run in the lab.
fn pod_resolver(octet: u8) -> Option<tempfile::TempDir> {
    let at = format!("127.53.{}.{octet}:53", std::process::id() % 250 + 1);
    if UdpSocket::bind(&at).is_err() {
        eprintln!("not run: {at} cannot be bound by this user");
        return None;
    }
    let address = server(&at, zone);
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        "search meshproof.svc.cluster.local svc.cluster.local cluster.local\nnameserver {}\noptions ndots:5 timeout:1 \
         attempts:1\n",
        address.ip()
    );
    std::fs::write(folder.path().join("resolv.conf"), text).expect("writes");
    std::fs::write(folder.path().join("hosts"), "127.0.0.7 by-hosts\n").expect("writes");
    Some(folder)
}

#[test]
fn names_resolve_as_an_application_would() {
    let Some(folder) = pod_resolver(1) else { return };
    let agent = Start::new()
        .env("MESHPROOF_RESOLV_CONF", folder.path().join("resolv.conf"))
        .env("MESHPROOF_HOSTS", folder.path().join("hosts"))
        .start();
    let hello = agent.control().hello;
    assert_eq!((hello.nameservers.len(), hello.search.len()), (1, 3));
    for host in [
        "server",
        "server.meshproof",
        "server.meshproof.svc.cluster.local",
        "server.meshproof.svc.cluster.local.",
        "by-hosts",
    ] {
        let action = Action::Http {
            to: Target::new(host, agent.port(port::HTTP)),
            method: "GET".into(),
            path: "/".into(),
            headers: vec![],
            body: 0,
            connection: Connection::New,
        };
        let outcome = agent.probe(action);
        let Outcome::Answered { address, timing, .. } = outcome else {
            panic!("{host}: {outcome:?}")
        };
        assert_eq!(address, Some(IpAddr::from([127, 0, 0, 7])), "{host}");
        assert!(
            timing
                .dns
                .is_some_and(|dns| timing.connect.is_some_and(|connect| dns <= connect)),
            "{timing:?}"
        );
    }
    for (host, expected) in [
        ("absent", DnsCode::NxDomain),
        ("broken.", DnsCode::ServFail),
        ("empty.", DnsCode::NoError),
    ] {
        let outcome = agent.probe(Action::TcpConnect {
            to: Target::new(host, 1),
        });
        assert!(
            matches!(outcome, Outcome::NameError { code: Some(code), .. } if code == expected),
            "{host}: {outcome:?}"
        );
    }
}

#[test]
fn search_domains_apply_only_when_asked_for() {
    let Some(folder) = pod_resolver(2) else { return };
    let agent = Start::new()
        .env("MESHPROOF_RESOLV_CONF", folder.path().join("resolv.conf"))
        .start();
    let question = |name: &str, search| Action::Dns {
        name: name.into(),
        record: RecordType::A,
        server: None,
        transport: Transport::Udp,
        search,
    };
    let found = (DnsCode::NoError, vec![DnsAnswer::Address(IpAddr::from([127, 0, 0, 7]))]);
    assert_eq!(
        dns(agent.probe(question("server.meshproof", Search::ResolvConf))),
        found
    );
    assert_eq!(
        dns(agent.probe(question("server.meshproof", Search::Absolute))),
        (DnsCode::NxDomain, vec![])
    );
    assert_eq!(
        dns(agent.probe(question("server.meshproof.", Search::ResolvConf))),
        (DnsCode::NxDomain, vec![])
    );
}

#[test]
fn a_resolver_that_is_silent_or_missing_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let conf = folder.path().join("resolv.conf");
    let agent = Start::new().env("MESHPROOF_RESOLV_CONF", &conf).start();
    let connect = || Action::TcpConnect {
        to: Target::new("server", 1),
    };
    // No file: the agent could not try.
    assert!(agent.probe(connect()).is_local_error());
    assert_eq!(agent.control().hello.nameservers, Vec::<String>::new());
    // Nobody answers: the name is what failed. (A closed port is no answer either.)
    std::fs::write(&conf, "nameserver 127.53.251.9\n").expect("writes");
    let outcome = agent.probe_within(connect(), Duration::from_millis(500));
    assert!(matches!(outcome, Outcome::NameError { code: None, .. }), "{outcome:?}");
}
