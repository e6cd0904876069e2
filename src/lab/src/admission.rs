//! What the lab's API servers decide about writes beyond the API's own rules: addresses and ports of services, and the
//! Pod Security Standards. It reads the store and knows nothing of networks.

mod pod;
mod security;
mod service_addresses;

pub(crate) use pod::Pods;
pub(crate) use service_addresses::{Services, create_api_service};
