//! The choice of a backend, without a switch.

use super::*;
use rand::SeedableRng;
use std::time::Duration;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

fn backend(n: u8) -> Backend {
    Backend::active(Ipv4Addr::new(10, 244, 1, n), 8080)
}

fn service(backends: Vec<Backend>) -> Service {
    Service::new("demo/echo", Frontend::tcp(VIP, 80), backends)
}

fn table(service: Service) -> ServiceTable {
    let mut table = ServiceTable::default();
    table.set_services(vec![service]);
    table
}

fn flow(port: u16) -> Tuple {
    Tuple {
        protocol: Protocol::Tcp,
        source: SocketAddrV4::new(Ipv4Addr::new(10, 244, 1, 99), port),
        destination: SocketAddrV4::new(VIP, 80),
    }
}

fn spread(table: &mut ServiceTable, now: Instant) -> HashMap<SocketAddrV4, usize> {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut counts = HashMap::new();
    for port in 1..=3000 {
        let chosen = table
            .choose(now, Frontend::tcp(VIP, 80), &flow(port), Asker::Inside, &mut rng)
            .expect("a backend");
        *counts.entry(chosen.backend).or_default() += 1;
    }
    counts
}

#[test]
fn random_and_maglev_spread_evenly() {
    for algorithm in [Algorithm::Random, Algorithm::Maglev { table_size: 251 }] {
        let mut service = service(vec![backend(1), backend(2), backend(3)]);
        service.algorithm = algorithm;
        let counts = spread(&mut table(service), Instant::now());
        assert_eq!(counts.len(), 3);
        assert!(
            counts.values().all(|count| (850..1150).contains(count)),
            "{algorithm:?}: {counts:?}"
        );
    }
}

#[test]
fn terminating_backends_serve_only_when_no_other_does() {
    let now = Instant::now();
    let leaving = Backend {
        state: BackendState::Terminating,
        ..backend(1)
    };
    let counts = spread(&mut table(service(vec![leaving, backend(2)])), now);
    assert_eq!(counts.keys().collect::<Vec<_>>(), [&backend(2).address]);
    let counts = spread(&mut table(service(vec![leaving])), now);
    assert_eq!(counts.keys().collect::<Vec<_>>(), [&leaving.address]);
    let parked = Backend {
        state: BackendState::Quarantined,
        ..backend(1)
    };
    let mut rng = SmallRng::seed_from_u64(1);
    assert_eq!(
        table(service(vec![parked])).choose(now, Frontend::tcp(VIP, 80), &flow(1), Asker::Inside, &mut rng),
        None
    );
}

#[test]
fn affinity_holds_until_the_client_was_idle_too_long_or_the_backend_left() {
    let mut sticky = service((1..=8).map(backend).collect());
    sticky.affinity = Affinity::ClientIp {
        timeout: Duration::from_secs(10),
    };
    let mut table = table(sticky.clone());
    let start = Instant::now();
    let mut rng = SmallRng::seed_from_u64(3);
    let mut choose = |table: &mut ServiceTable, at: u64, port| {
        let now = start + Duration::from_secs(at);
        table
            .choose(now, Frontend::tcp(VIP, 80), &flow(port), Asker::Inside, &mut rng)
            .expect("a backend")
            .backend
    };
    let first = choose(&mut table, 0, 1);
    for port in 2..50 {
        assert_eq!(choose(&mut table, 9, port), first, "port {port}");
    }
    let later: Vec<_> = (0..20).map(|round| choose(&mut table, 19 + 11 * round, 1)).collect();
    assert!(
        later.iter().any(|backend| *backend != first),
        "eleven idle seconds forget the client"
    );
    let last = *later.last().expect("twenty choices");
    sticky.backends.retain(|backend| backend.address != last);
    table.set_services(vec![sticky]);
    assert_ne!(choose(&mut table, 19 + 11 * 19, 1), last);
}

#[test]
fn faults_change_the_choice_and_heal() {
    let now = Instant::now();
    let mut table = table(service(vec![backend(1), backend(2)]));
    let name = ServiceName::from("demo/echo");
    let one = backend(1).address;
    table.set_overrides(vec![(name.clone(), ServiceOverride::Pinned(one))]);
    assert_eq!(spread(&mut table, now).len(), 1);
    table.set_overrides(vec![(name.clone(), ServiceOverride::Ignored(one))]);
    assert!(!spread(&mut table, now).contains_key(&one));
    table.set_overrides(vec![(name.clone(), ServiceOverride::Weighted(one, 0.9))]);
    assert!((2600..2800).contains(&spread(&mut table, now)[&one]));
    table.set_overrides(vec![(name, ServiceOverride::Frozen)]);
    table.set_services(vec![service(vec![backend(3)])]);
    assert!(
        !spread(&mut table, now).contains_key(&backend(3).address),
        "frozen: the change is not seen"
    );
    table.set_overrides(Vec::new());
    assert_eq!(
        spread(&mut table, now).keys().collect::<Vec<_>>(),
        [&backend(3).address]
    );
}

#[test]
fn clients_outside_may_be_kept_to_some_backends() {
    let now = Instant::now();
    let near = backend(2);
    for algorithm in [Algorithm::Random, Algorithm::Maglev { table_size: 251 }] {
        let mut service = service(vec![backend(1), near, backend(3)]);
        service.algorithm = algorithm;
        service.outside = Some(vec![near.address]);
        let mut table = table(service.clone());
        let mut rng = SmallRng::seed_from_u64(1);
        let mut chosen = |asker| -> std::collections::BTreeSet<SocketAddrV4> {
            let ports = 1..=100;
            let bindings = ports.map(|port| table.choose(now, Frontend::tcp(VIP, 80), &flow(port), asker, &mut rng));
            bindings.map(|binding| binding.expect("a backend").backend).collect()
        };
        assert_eq!(chosen(Asker::Outside), [near.address].into());
        assert_eq!(chosen(Asker::Inside).len(), 3, "{algorithm:?}");
        assert_eq!(chosen(Asker::Socket).len(), 3, "{algorithm:?}");
        service.outside = Some(Vec::new());
        let mut nobody = self::table(service);
        let nobody = nobody.choose(now, Frontend::tcp(VIP, 80), &flow(1), Asker::Outside, &mut rng);
        assert!(nobody.is_none(), "{nobody:?}");
    }
}
