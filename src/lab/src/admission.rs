//! What the lab's API servers decide about writes beyond the API's own rules: addresses and ports of services, the
//! Pod Security Standards, LimitRanges and ResourceQuotas. It reads the store and knows nothing of networks.

mod limits;
mod pod;
mod quantity;
mod quota;
mod security;
mod service_addresses;

pub(crate) use limits::Limits;
pub(crate) use pod::Pods;
pub(crate) use quota::Quotas;
pub(crate) use service_addresses::{Services, create_api_service};
