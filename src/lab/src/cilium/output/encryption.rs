//! `cilium-dbg encrypt status`, the `encryption` of `cilium-dbg status`, and of `cilium-dbg debuginfo`, the only one
//! with peers.

use super::super::{time::millis_or_never, view::EncryptionView};
use meshproof_datapath::PeerStatus;
use serde_json::{Value, json};

/// What `cilium-dbg status -o json` has under `encryption`.
pub fn status(view: &EncryptionView) -> Value {
    let EncryptionView::WireGuard { port, nodes, .. } = view else {
        return json!({"mode": "Disabled"});
    };
    let mut value = encrypt_status(view);
    value["wireguard"]["interfaces"][0]["listen-port"] = json!(port);
    value["wireguard"]["node-encryption"] = json!(nodes.word());
    value
}

/// `cilium-dbg encrypt status -o json`: without the port, and without peers.
pub fn encrypt_status(view: &EncryptionView) -> Value {
    let EncryptionView::WireGuard { public_key, peers, .. } = view else {
        return json!({"mode": "Disabled"});
    };
    let mut interface = json!({"name": "cilium_wg0", "peers": null, "public-key": public_key});
    if !peers.is_empty() {
        interface["peer-count"] = json!(peers.len());
    }
    json!({"mode": "Wireguard", "wireguard": {"interfaces": [interface]}})
}

/// `cilium-dbg encrypt status`.
pub fn encrypt_status_text(view: &EncryptionView) -> String {
    match view {
        EncryptionView::Disabled => format!("{:<39}\n", "Encryption: Disabled"),
        EncryptionView::WireGuard { public_key, peers, .. } => format!(
            "{:<38}\nInterface: cilium_wg0\n\tPublic key: {public_key}\n\tNumber of peers: {}\n",
            "Encryption: Wireguard",
            peers.len()
        ),
    }
}

/// What `cilium-dbg debuginfo --output json` has under `encryption`.
pub fn debuginfo(view: &EncryptionView) -> Value {
    let EncryptionView::WireGuard {
        public_key,
        port,
        peers,
        nodes,
    } = view
    else {
        return json!({});
    };
    let mut interface = json!({
        "listen-port": port,
        "name": "cilium_wg0",
        "peers": peers.iter().map(peer).collect::<Vec<_>>(),
        "public-key": public_key,
    });
    if !peers.is_empty() {
        interface["peer-count"] = json!(peers.len());
    }
    json!({"wireguard": {"interfaces": [interface], "node-encryption": nodes.word()}})
}

/// Counters of zero are left out, as everywhere in Cilium's JSON.
fn peer(peer: &PeerStatus) -> Value {
    let mut value = json!({
        "allowed-ips": peer.allowed_ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "endpoint": peer.endpoint.to_string(),
        "last-handshake-time": millis_or_never(peer.last_handshake),
        "public-key": peer.public_key.to_string(),
    });
    for (name, bytes) in [("transfer-rx", peer.rx_bytes), ("transfer-tx", peer.tx_bytes)] {
        if bytes > 0 {
            value[name] = json!(bytes);
        }
    }
    value
}
