//! What a client says to a flow's destination, by the flow's protocol.

use crate::kit::flow::{self, Destination};
use meshproof_contract::{
    Action, CheckContext, Exchange, Flow, ObjectRef, Speech, TlsClient,
    flow::{FlowCa, FlowProtocol, FlowTls},
};
use std::{net::SocketAddr, time::Duration};

/// What the client says there; none for protocols that a probe speaks by itself.
pub async fn exchange(
    context: &CheckContext,
    flow: &Flow,
    destination: &Destination,
    deadline: Duration,
) -> Result<Option<Exchange>, String> {
    let speech = match flow.to.protocol {
        FlowProtocol::Tcp | FlowProtocol::Dns => return Ok(None),
        FlowProtocol::Tls => Speech::Tls(tls(context, flow, destination).await?),
        FlowProtocol::Postgres => Speech::Postgres(tls(context, flow, destination).await?),
        FlowProtocol::Redis => Speech::Redis,
        FlowProtocol::Http | FlowProtocol::Https => {
            let request = flow.to.request.clone().unwrap_or_default();
            let tls = match flow.to.protocol {
                FlowProtocol::Https => Some(tls(context, flow, destination).await?),
                _ => None,
            };
            Speech::Http {
                tls,
                method: request.method,
                path: request.path,
                host: request.host.unwrap_or_else(|| destination.name.clone()),
                headers: request.headers,
            }
        }
    };
    Ok(Some(Exchange {
        to: destination.target.clone(),
        speech,
        deadline,
    }))
}

async fn tls(context: &CheckContext, flow: &Flow, destination: &Destination) -> Result<TlsClient, String> {
    let FlowTls { server_name, ca } = flow.to.tls.clone().unwrap_or_default();
    let roots = match ca {
        None => None,
        Some(FlowCa::Pem(pem)) => Some(pem),
        Some(FlowCa::File(path)) => return Err(format!("{} was not read", path.display())),
        Some(FlowCa::ConfigMap { namespace, name, key }) => {
            let found = context
                .environment
                .get(
                    &flow.from.cluster,
                    &ObjectRef::namespaced("v1", "ConfigMap", &namespace, &name),
                )
                .await;
            let found = found.map_err(|error| error.to_string())?.unwrap_or_default();
            let text = found["data"][&key].as_str().map(str::to_owned);
            Some(text.ok_or_else(|| format!("ConfigMap {namespace}/{name} has no key '{key}'"))?)
        }
    };
    Ok(TlsClient {
        server_name: server_name.unwrap_or_else(|| destination.name.clone()),
        roots,
    })
}

/// The question of a flow that asks DNS.
pub fn question(flow: &Flow, destination: &Destination) -> Action {
    let server = destination
        .address
        .map(|address| SocketAddr::new(address, flow.to.port));
    flow::question(flow, server)
}
