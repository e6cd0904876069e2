//! A container's image: one that the lab runs itself, or the agent's; others cannot be pulled, since the lab has no
//! registry.

use super::{BACK_OFF, Container, LONGEST_BACK_OFF};
use crate::{event::EventType, system::SystemImage, topology::AGENT_IMAGE};
use std::{sync::Arc, time::Duration};

/// What a container runs.
pub(super) enum Image {
    Agent,
    System(Arc<dyn SystemImage>),
}

impl Container {
    /// Finds the image; waits as long as it cannot be had. None when the pod is stopped.
    pub(super) async fn pull(&mut self) -> Option<Image> {
        let reference = self.spec["image"].as_str().unwrap_or_default().to_owned();
        let image = match self.kubelet.images.iter().find(|image| image.matches(&reference)) {
            Some(image) => Some(Image::System(Arc::clone(image))),
            None => (reference == AGENT_IMAGE).then_some(Image::Agent),
        };
        if let Some(image) = image {
            let message = format!("Container image \"{reference}\" already present on machine");
            self.event(EventType::Normal, "Pulled", &message);
            return Some(image);
        }
        let why = format!("failed to pull and unpack image \"{reference}\": the lab's nodes have no registry");
        if self.spec["imagePullPolicy"] == "Never" {
            let message = format!("Container image \"{reference}\" is not present with pull policy of Never");
            self.states.wait(&self.name, "ErrImageNeverPull", &message);
            self.event(EventType::Warning, "ErrImageNeverPull", &message);
            self.stopped().await;
            return None;
        }
        let mut pause = BACK_OFF;
        loop {
            self.event(EventType::Normal, "Pulling", &format!("Pulling image \"{reference}\""));
            self.event(
                EventType::Warning,
                "Failed",
                &format!("Failed to pull image \"{reference}\": {why}"),
            );
            self.event(EventType::Warning, "Failed", "Error: ErrImagePull");
            self.states.wait(&self.name, "ErrImagePull", &why);
            // Long enough for a reader to meet the first reason, as on a real node.
            if self.pause(Duration::from_millis(500)).await.is_stopped() {
                return None;
            }
            let message = format!("Back-off pulling image \"{reference}\"");
            self.states.wait(
                &self.name,
                "ImagePullBackOff",
                &format!("{message}: ErrImagePull: {why}"),
            );
            self.event(EventType::Normal, "BackOff", &message);
            if self.pause(pause).await.is_stopped() {
                return None;
            }
            pause = (pause * 2).min(LONGEST_BACK_OFF);
        }
    }
}
