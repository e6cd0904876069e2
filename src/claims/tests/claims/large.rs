//! A large repository: 2,000 files and 50 MB, as those of platform teams are: many releases, workloads, dashboards in
//! ConfigMaps, CRDs. `cargo test -p meshproof-claims -- --nocapture large` prints what it took.

use crate::repository::{Repository, found, processor_seconds};
use meshproof_claims::{Request, check};
use std::{fmt::Write, fs, path::PathBuf, process::Command, time::Instant};

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

/// Names the folder to the process that checks it alone.
const FOLDER: &str = "MESHPROOF_LARGE";

/// In a process of its own, so that memory and processor time are those of the check.
#[test]
fn two_thousand_files_are_checked_in_time() {
    let (repository, bytes) = repository();
    repository.write(
        "clusters/infra/cilium-values.yaml",
        "cluster: {name: infra, id: 1}\nwrong: 1\n",
    );
    repository.write("clusters/apps/cilium-values.yaml", "cluster: {name: apps, id: 2}\n");
    let alone = Command::new(std::env::current_exe().expect("the path of this test"))
        .args(["--ignored", "--exact", "large::checked_alone", "--nocapture"])
        .env(FOLDER, repository.path("."))
        .output()
        .expect("the test runs again");
    let output = String::from_utf8_lossy(&alone.stdout);
    assert!(
        alone.status.success(),
        "{output}{}",
        String::from_utf8_lossy(&alone.stderr)
    );
    let figures = output
        .lines()
        .find_map(|line| line.strip_prefix(FIGURES))
        .expect("figures");
    println!("{FILES} files, {} MB: {figures}", bytes / 1_000_000);
}

/// How the line with the figures begins.
const FIGURES: &str = "took ";

#[test]
#[ignore = "checks the folder that the variable names; the test of a large repository runs it"]
fn checked_alone() {
    let root = PathBuf::from(std::env::var(FOLDER).expect("the variable names a folder"));
    let start = Instant::now();
    let report = check(&Request { root, values: vec![] }).expect("a readable folder");
    let (took, spent) = (start.elapsed(), processor_seconds());
    let memory = peak().expect("the kernel tells the memory");
    println!("\n{FIGURES}{took:?}, {spent:.1} s of processor, {memory} MiB");
    assert_eq!(found(&report), ["clusters/infra/cilium-values.yaml:2 unknown-key"]);
    // The promise is 2 s of a clock; processor time does not depend on what else runs. Several threads share it.
    assert!(spent < 8.0, "{spent} s of processor");
    assert!(memory < 200, "{memory} MiB");
}
