//! A large repository: 2,000 files and 50 MB, as those of platform teams are: many releases, workloads, dashboards in
//! ConfigMaps, CRDs. `cargo test --release -- --nocapture large` prints what it took.

use crate::repository::{Repository, found, processor_seconds};
use std::{fmt::Write, fs, time::Instant};

const FILES: usize = 2_000;
const BYTES: usize = 50_000_000;

/// Writes the repository; the operators' example is in the middle of it.
fn repository() -> (Repository, usize) {
    let (repository, mut bytes) = (Repository::new(), 0);
    let each = BYTES / FILES;
    for number in 0..FILES {
        let text = match number % 10 {
            0..=3 => workloads(number, each),
            4 | 5 => dashboards(number, each),
            6 => crd(number, each),
            7 => policies(number, each),
            8 => services(number, each),
            _ => values(each),
        };
        bytes += text.len();
        let folder = ["infra", "apps"][number % 2];
        repository.write(
            &format!("clusters/{folder}/team-{}/file-{number}.yaml", number % 37),
            text,
        );
    }
    (repository, bytes)
}

fn filled(each: usize, mut next: impl FnMut(&mut String, usize)) -> String {
    let mut text = String::new();
    let mut count = 0;
    while text.len() < each {
        next(&mut text, count);
        count += 1;
    }
    text
}

fn workloads(number: usize, each: usize) -> String {
    filled(each, |text, count| {
        let name = format!("app-{number}-{count}");
        let _ = write!(
            text,
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\n  namespace: ns-{number}\nspec:\n  \
             replicas: 2\n  selector:\n    matchLabels:\n      app: {name}\n  template:\n    metadata:\n      \
             labels:\n        app: {name}\n    spec:\n      containers:\n        - name: main\n          image: \
             registry.example/{name}:1.2.3\n          env:\n            - name: A\n              value: \"some text\"\n"
        );
    })
}

fn dashboards(number: usize, each: usize) -> String {
    let lines = filled(each, |text, count| {
        let _ = writeln!(
            text,
            "    {{\"panel\": {count}, \"expr\": \"rate(http_requests_total[5m])\"}}"
        );
    });
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: dashboard-{number}\ndata:\n  board.json: |\n{lines}")
}

fn crd(number: usize, each: usize) -> String {
    let lines = filled(each, |text, count| {
        let _ = writeln!(
            text,
            "          field{count}: {{type: string, description: a field of no interest}}"
        );
    });
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: x{number}}}\nspec:\n  \
         schema:\n    openAPIV3Schema:\n        properties:\n{lines}"
    )
}

fn policies(number: usize, each: usize) -> String {
    filled(each, |text, count| {
        let _ = write!(
            text,
            "---\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata:\n  name: p-{count}\n  namespace: \
             p-{number}\nspec:\n  endpointSelector:\n    matchLabels:\n      app: a{count}\n  ingress:\n    - \
             fromEndpoints:\n        - matchLabels:\n            app: b\n      toPorts:\n        - ports:\n            \
             - port: \"80\"\n              protocol: TCP\n"
        );
    })
}

fn services(number: usize, each: usize) -> String {
    filled(each, |text, count| {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: s-{number}-{count}\n  namespace: \
            s-{number}\nspec:\n  \
             selector:\n    app: s-{count}\n  ports:\n    - name: http\n      port: 80\n"
        );
    })
}

fn values(each: usize) -> String {
    filled(each, |text, count| {
        let _ = writeln!(text, "key{count}:\n  enabled: true\n  list: [a, b, c]");
    })
}

/// The most memory that this process has had, in MiB.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()
        .map(|kib| kib / 1024)
}

#[test]
fn two_thousand_files_are_checked_in_time() {
    let (repository, bytes) = repository();
    repository.write(
        "clusters/infra/cilium-values.yaml",
        "cluster: {name: infra, id: 1}\nwrong: 1\n",
    );
    repository.write("clusters/apps/cilium-values.yaml", "cluster: {name: apps, id: 2}\n");
    let (start, before) = (Instant::now(), processor_seconds());
    let report = repository.check();
    let took = start.elapsed();
    let memory = peak().unwrap_or_default();
    let spent = processor_seconds() - before;
    println!(
        "{FILES} files, {} MB: {took:?}, {spent:.1} s of processor, at most {memory} MiB, the test's own included",
        bytes / 1_000_000
    );
    assert_eq!(found(&report), ["clusters/infra/cilium-values.yaml:2 unknown-key"]);
    // The promise is 2 s for the command alone; this is against work that grows with the square of the files.
    assert!(spent < 30.0, "{spent} s of processor");
}

/// Leaves the repository where `MESHPROOF_LARGE` says, so that the command can be measured by itself.
#[test]
#[ignore = "writes 50 MB where the variable says"]
fn write_the_large_repository() {
    let to = std::env::var("MESHPROOF_LARGE").expect("MESHPROOF_LARGE names a folder");
    let (repository, _) = repository();
    repository.write(
        "clusters/infra/cilium-values.yaml",
        "cluster: {name: infra, id: 1}\nwrong: 1\n",
    );
    repository.write("clusters/apps/cilium-values.yaml", "cluster: {name: apps, id: 2}\n");
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(repository.path("clusters"))
        .arg(to)
        .status();
    assert!(copied.expect("cp runs").success());
}
