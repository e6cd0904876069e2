//! The command line that runs one trial again, made of the definitions that clap parsed the run's own with.

use super::Cli;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, parser::ValueSource};

/// Arguments of `meshproof run` and `watch` that say where it ran and under which conditions.
const CONDITIONS: &[&str] = &[
    "infra_context",
    "apps_context",
    "context",
    "config",
    "lab",
    "lab_nodes",
    "lab_profile",
    "lab_fault",
    "lab_fault_seed",
    "gitops",
    "values",
    "flows",
    "image",
    "pull_policy",
    "image_pull_secret",
    "timeout",
    "disruptive",
    "mesh_outage",
    "generate",
    "seed",
    "sample_seed",
    "for",
    "until_rollout",
    "spacing",
];

/// The words of a command line that repeats a run for one trial: append the trial's name. `matches` are those of the
/// whole command line of a `meshproof run` or `watch`; any other command has none.
pub fn again(matches: &ArgMatches) -> Vec<String> {
    let Some((name @ ("run" | "watch"), run)) = matches.subcommand() else {
        return Vec::new();
    };
    let command = Cli::command();
    let definitions = command
        .find_subcommand(name)
        .into_iter()
        .flat_map(|run| run.get_arguments());
    let mut words = vec!["meshproof".to_owned(), name.to_owned()];
    for argument in definitions.filter(|argument| is_condition(argument) && was_given(argument, run)) {
        words.extend(as_given(argument, run));
    }
    words.push("--exact".to_owned());
    words
}

/// [`again`] of a run that other commands would start with these arguments.
///
/// # Panics
/// If `meshproof run` does not take them: they are ours, and tested.
pub fn again_with(arguments: &[&str]) -> Vec<String> {
    let words = ["meshproof", "run"].into_iter().chain(arguments.iter().copied());
    again(
        &Cli::command()
            .try_get_matches_from(words)
            .expect("arguments that run takes"),
    )
}

fn is_condition(argument: &Arg) -> bool {
    CONDITIONS.contains(&argument.get_id().as_str())
}

fn was_given(argument: &Arg, matches: &ArgMatches) -> bool {
    let source = matches.value_source(argument.get_id().as_str());
    matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
}

/// The argument's words; values that could be taken for an option are joined to theirs.
fn as_given(argument: &Arg, matches: &ArgMatches) -> Vec<String> {
    let name = argument.get_long().expect("a test says that each condition has a name");
    let flag = format!("--{name}");
    if matches!(argument.get_action(), ArgAction::SetTrue) {
        return vec![flag];
    }
    let values = matches.get_raw(argument.get_id().as_str()).into_iter().flatten();
    let words = values.flat_map(|value| {
        let value = value.to_string_lossy();
        if value.starts_with('-') {
            vec![format!("{flag}={value}")]
        } else {
            vec![flag.clone(), value.into_owned()]
        }
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Command, RunArgs};
    use clap::{FromArgMatches, Parser};
    use std::collections::BTreeSet;

    /// Arguments of `meshproof run` that select, set parallelism or print.
    const NOT_REPEATED: &[&str] = &[
        "filters",
        "suite",
        "skip",
        "exact",
        "list",
        "jobs",
        "fail_fast",
        "report_dir",
        "report_configmap",
        "push_metrics",
        "format",
    ];

    const TRIAL: &str = "mesh::change_propagates[infra->apps]";

    fn parsed(words: &[&str]) -> (RunArgs, Vec<String>) {
        let matches = Cli::command().get_matches_from(words);
        let cli = Cli::from_arg_matches(&matches).expect("a command line");
        (run(cli), again(&matches))
    }

    fn run(cli: Cli) -> RunArgs {
        match cli.command {
            Command::Run(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_argument_of_run_is_repeated_or_not_on_purpose() {
        let command = Cli::command();
        let run = command.find_subcommand("run").expect("run");
        let all: BTreeSet<&str> = run.get_arguments().map(|argument| argument.get_id().as_str()).collect();
        let of_watch = ["for", "until_rollout", "spacing"];
        let conditions = CONDITIONS.iter().copied().filter(|name| !of_watch.contains(name));
        let repeated: BTreeSet<&str> = conditions.collect();
        let not_repeated: BTreeSet<&str> = NOT_REPEATED.iter().copied().collect();
        assert!(repeated.is_disjoint(&not_repeated));
        assert_eq!(repeated.union(&not_repeated).copied().collect::<BTreeSet<_>>(), all);
        for argument in run.get_arguments().filter(|argument| is_condition(argument)) {
            assert!(argument.get_long().is_some(), "{} needs a long name", argument.get_id());
        }
    }

    #[test]
    fn the_command_to_run_again_is_parsed_to_the_same_conditions() {
        for line in [
            "run --lab",
            "run --lab --generate 200 --seed 7 --sample-seed 20787 --suite policy",
            "run --lab --lab-nodes 5 --lab-fault udp-dropped --lab-fault=dns-slow -v --format json",
            "run --infra-context infra --apps-context=apps --image r.example/m:1 --pull-policy Never --jobs 3",
            "run --context edge=edge-admin --context core=core@1 --exact dns::latency[core]",
            "run --config own.yaml --disruptive --timeout 90s --fail-fast",
            "run --infra-context=-odd --apps-context apps dns mesh --skip latency",
            "-vv run --lab --list --report-dir out -- --odd-filter",
            "run --generate 1 --infra-context a --apps-context b --pull-policy Always --timeout 1500ms",
            "run --config ./a/../m.yaml --lab --seed 0 --disruptive --lab-nodes 1",
        ] {
            let words: Vec<&str> = ["meshproof"].into_iter().chain(line.split(' ')).collect();
            let (given, again) = parsed(&words);
            let again: Vec<&str> = again.iter().map(String::as_str).chain([TRIAL]).collect();
            let repeated = run(Cli::try_parse_from(&again).unwrap_or_else(|error| panic!("{again:?}: {error}")));
            let expected = RunArgs {
                filters: vec![TRIAL.to_owned()],
                suite: Vec::new(),
                skip: Vec::new(),
                exact: true,
                list: false,
                jobs: None,
                fail_fast: false,
                report_dir: None,
                format: crate::args::Format::Human,
                ..given
            };
            assert_eq!(repeated, expected, "{line} became {again:?}");
        }
    }

    #[test]
    fn spaces_and_quotes_stay_in_their_word() {
        let (_, again) = parsed(&[
            "meshproof",
            "run",
            "--infra-context",
            "it's a context",
            "--apps-context",
            "b",
        ]);
        assert_eq!(
            again,
            [
                "meshproof",
                "run",
                "--infra-context",
                "it's a context",
                "--apps-context",
                "b",
                "--exact"
            ]
        );
        let line = meshproof_contract::again(&again, &TRIAL.into());
        assert!(line.contains(r#""it's a context""#), "{line}");
    }

    #[test]
    fn other_commands_name_the_run_that_they_stand_for() {
        let again = again_with(&["--lab", "--lab-nodes", "2", "--lab-fault", "udp-dropped", "dns"]);
        let expected = "meshproof run --lab --lab-nodes 2 --lab-fault udp-dropped --exact";
        assert_eq!(again.join(" "), expected);
    }
}
