//! Does cluster DNS answer pods correctly, from every node and from every replica?

mod endpoints;
mod fresh;
mod replica;

pub mod absent_name;
pub mod absent_record;
pub mod external_name;
pub mod from_host_network;
pub mod headless_service;
pub mod large_answer;
pub mod latency;
pub mod other_services;
pub mod replica_answers;
pub mod replica_learns;
pub mod reverse_name;
pub mod search_names;
pub mod service_name;
pub mod service_record;

use crate::kit::dns::check::DnsCheck;
use absent_name::AbsentName;
use absent_record::AbsentRecord;
use external_name::ExternalName;
use from_host_network::FromHostNetwork;
use headless_service::HeadlessService;
use large_answer::LargeAnswer;
use latency::Latency;
use meshproof_contract::Suite;
use other_services::OtherServices;
use replica_answers::ReplicaAnswers;
use replica_learns::ReplicaLearns;
use reverse_name::ReverseName;
use search_names::SearchNames;
use service_name::ServiceName;
use service_record::ServiceRecord;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "dns",
    about: "Cluster DNS answers the pods of every node correctly over UDP and TCP, from every replica: service names, \
            short names, reverse names, headless services, aliases, answers of many records, and the right code for \
            names that do not exist.",
    checks: &[
        &DnsCheck(ServiceName::Udp),
        &DnsCheck(ServiceName::Tcp),
        &DnsCheck(SearchNames),
        &DnsCheck(AbsentName),
        &DnsCheck(AbsentRecord),
        &DnsCheck(ReverseName),
        &DnsCheck(HeadlessService),
        &DnsCheck(ServiceRecord),
        &DnsCheck(FromHostNetwork),
        &ExternalName,
        &LargeAnswer,
        &OtherServices,
        &ReplicaAnswers,
        &ReplicaLearns,
        &Latency,
    ],
};
