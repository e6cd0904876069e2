//! The rules of the proof, and how the matrix is shown.

use super::*;

fn check(name: &str) -> CheckId {
    CheckId::from(name)
}

fn matrix() -> Matrix {
    let row = Row {
        fault: "udp-dropped".into(),
        of: "udp-dropped".into(),
        expected: Expected::Noticed,
        skipped: BTreeMap::new(),
        summary: "UDP is dropped".into(),
        ran: [check("a::udp"), check("a::tcp")].into(),
        caught: [(check("a::udp"), "no answer".to_owned())].into(),
        inconclusive: BTreeMap::new(),
        unhealed: BTreeMap::new(),
        red_in: BTreeMap::new(),
        place: None,
    };
    let checks = [
        (check("a::udp"), ["udp-dropped".into()].into()),
        (check("a::tcp"), BTreeSet::new()),
    ]
    .into();
    Matrix {
        checks,
        blinded: BTreeMap::new(),
        dimmed: BTreeMap::new(),
        unhealthy: BTreeMap::new(),
        unconcerned: BTreeSet::new(),
        rows: vec![row],
    }
}

#[test]
fn a_check_that_nothing_kills_is_a_defect_when_all_faults_were_met() {
    assert_eq!(
        matrix().defects(Coverage::AllFaults),
        [Defect::CannotFail { check: check("a::tcp") }]
    );
    assert_eq!(matrix().defects(Coverage::SomeFaults), []);
}

#[test]
fn a_fault_that_nobody_catches_is_a_survivor_and_missed_by_those_who_name_it() {
    let mut matrix = matrix();
    matrix.rows[0].caught.clear();
    let fault = FaultName::from("udp-dropped");
    assert_eq!(
        matrix.defects(Coverage::SomeFaults),
        [
            Defect::Survivor { fault: fault.clone() },
            Defect::Missed {
                fault: fault.clone(),
                check: check("a::udp"),
                unsure: None
            }
        ]
    );
    matrix.rows[0]
        .inconclusive
        .insert(check("a::udp"), "nothing was sent".to_owned());
    let unsure = &matrix.defects(Coverage::SomeFaults)[1];
    assert_eq!(
        unsure.to_string(),
        "missed: a::udp names udp-dropped but was inconclusive: nothing was sent"
    );
}

#[test]
fn a_blinded_check_must_be_inconclusive() {
    let mut matrix = matrix();
    let fault = FaultName::from("udp-dropped");
    matrix.checks.clear();
    matrix.rows[0].caught.clear();
    matrix.blinded = [(check("a::udp"), [fault.clone()].into())].into();
    let green = matrix.defects(Coverage::SomeFaults);
    assert!(
        green.contains(&Defect::GreenBlind {
            fault: fault.clone(),
            check: check("a::udp")
        }),
        "{green:?}"
    );
    assert!(green.contains(&Defect::Survivor { fault }), "{green:?}");
    matrix.rows[0]
        .inconclusive
        .insert(check("a::udp"), "nothing was seen".to_owned());
    assert_eq!(matrix.defects(Coverage::SomeFaults), []);
}

#[test]
fn false_alarms_and_unhealed_labs_are_defects() {
    let mut matrix = matrix();
    matrix.unhealthy.insert(check("a::tcp"), "refused".into());
    matrix.rows[0].unhealed.insert(check("a::udp"), "no answer".into());
    assert_eq!(matrix.defects(Coverage::SomeFaults).len(), 2);
}

#[test]
fn a_check_needs_a_fault_that_no_other_suite_catches() {
    let mut matrix = matrix();
    matrix.checks.remove(&check("a::tcp"));
    matrix.rows[0].caught.insert(check("a::udp_again"), "silent".to_owned());
    assert_eq!(matrix.defects(Coverage::AllFaults), []);
    matrix.rows[0].caught.insert(check("b::all"), "silent".to_owned());
    assert_eq!(
        matrix.defects(Coverage::AllFaults),
        [Defect::NoUniqueFault { check: check("a::udp") }]
    );
}

#[test]
fn the_table_has_a_cell_for_each_check() {
    let table = matrix().markdown();
    assert!(table.contains("| udp-dropped | · | **red** |"), "{table}");
}

#[test]
fn the_page_reads_well() {
    insta::assert_snapshot!(matrix().markdown(), @"
    # Checks and the faults that they catch

    **red**: the check caught the fault; ·: it passed; ?: it was inconclusive; empty: it did not run. `@` and a
    number are the fault's size: below 1 of what is promised, from 1 of what is found for certain.

    ## a

    1. `a::tcp`
    2. `a::udp`

    | fault | 1 | 2 |
    | --- | --- | --- |
    | udp-dropped | · | **red** |

    ## The faults

    - **udp-dropped**: UDP is dropped
    ");
}

#[test]
fn what_is_within_the_promise_must_stay_green() {
    let mut matrix = matrix();
    matrix.rows[0].expected = Expected::Unnoticed;
    let defects = matrix.defects(Coverage::SomeFaults);
    assert_eq!(defects.len(), 1);
    let told = defects[0].to_string();
    assert!(
        told.starts_with("too sensitive: udp-dropped is within what is promised"),
        "{told}"
    );
    matrix.rows[0].caught.clear();
    assert_eq!(matrix.defects(Coverage::SomeFaults), []);
    // It kills no check either.
    let cannot = matrix.defects(Coverage::AllFaults);
    assert!(
        cannot.iter().all(|defect| matches!(defect, Defect::CannotFail { .. })),
        "{cannot:?}"
    );
}

#[test]
fn a_check_that_cannot_tell_or_does_not_apply_must_say_so_of_the_fault() {
    let mut matrix = matrix();
    matrix.rows[0]
        .inconclusive
        .insert(check("a::tcp"), "no answer".to_owned());
    let fault = FaultName::from("udp-dropped");
    let unsure = matrix.defects(Coverage::SomeFaults);
    assert!(matches!(unsure.as_slice(), [Defect::Unsure { .. }]), "{unsure:?}");
    matrix.blinded = [(check("a::tcp"), [fault].into())].into();
    assert_eq!(matrix.defects(Coverage::SomeFaults), []);
    matrix.rows[0].skipped.insert(check("a::udp"), "not claimed".to_owned());
    let skipped = matrix.defects(Coverage::SomeFaults);
    assert!(matches!(skipped.as_slice(), [Defect::Skipped { .. }]), "{skipped:?}");
}

#[test]
fn a_signature_has_what_was_red_green_and_where() {
    let mut matrix = matrix();
    matrix.rows[0].red_in = [(check("a::udp"), ["infra->apps".to_owned()].into())].into();
    matrix.rows[0].place = Some("pair".to_owned());
    let signatures = matrix.signatures("native");
    let [signature] = signatures.as_slice() else {
        panic!("one row: {signatures:?}")
    };
    assert_eq!(
        (signature.of.as_str(), signature.profile.as_str()),
        ("udp-dropped", "native")
    );
    assert_eq!(signature.red, matrix.rows[0].red_in);
    assert_eq!(signature.green, [check("a::tcp")].into());
    assert_eq!(signature.place.as_deref(), Some("pair"));
}
