//! Whether Cilium shares what a namespace holds with the other clusters.

use meshproof_contract::{CheckContext, ClusterName, ObjectRef, Verdict, facts};

/// Since 1.19 a cluster can leave out every namespace that is not annotated (`clustermesh-default-global-namespace:
/// false`): there a service of ours is not shared, whatever the mesh does.
pub async fn is_global(
    context: &CheckContext,
    cluster: &ClusterName,
    cilium: &facts::CiliumFacts,
    namespace: &str,
) -> Result<(), Verdict> {
    if cilium.flag("clustermesh-default-global-namespace") != Some(false) {
        return Ok(());
    }
    let object = ObjectRef::cluster_wide("v1", "Namespace", namespace);
    let found = context.environment.get(cluster, &object).await;
    let found = found.map_err(|error| Verdict::inconclusive(error.to_string()))?;
    let annotation = "/metadata/annotations/clustermesh.cilium.io~1global";
    match found.as_ref().and_then(|n| n.pointer(annotation)?.as_str()) {
        Some("true") => Ok(()),
        _ => Err(Verdict::inconclusive(format!(
            "{cluster} shares only namespaces annotated clustermesh.cilium.io/global=\"true\", and {namespace} is \
             not: annotate it, and run again"
        ))),
    }
}
