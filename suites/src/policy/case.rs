//! Cases: policies with the cells over which they are tried, and checks made of them.

use super::actor::Actor;
use super::cell::{Cell, Compared};
use super::play::{Row, play};
use super::scene::Scene;
use super::ward::GROUPS;
use async_trait::async_trait;
use futures::future::BoxFuture;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, ClaimKind, Needs, Scope, Tally, Verdict};
use serde_json::Value;
use std::sync::Arc;

/// Policies and what they are tried with.
#[derive(Clone, Copy)]
pub struct Case {
    /// A few words, for findings and reports.
    pub name: &'static str,
    /// The objects, without name and namespace: see [`crate::kit::object::policy`].
    pub policies: fn(&Scene) -> Vec<Value>,
    /// The cells, given the neighbours that take part.
    pub cells: fn(&Scene, &[Arc<Actor>]) -> Vec<Cell>,
}

impl Case {
    /// Plays it; what each cell showed is returned, if it came so far.
    pub async fn play(&self, context: &CheckContext, scene: &Scene, tally: &mut Tally) -> Option<Vec<(Row, Compared)>> {
        let cells = (self.cells)(scene, &scene.neighbours(&context.instance));
        play(context, scene, self.name, (self.policies)(scene), cells, tally).await
    }
}

/// A check made of cases.
pub struct Family {
    /// Its id.
    pub id: &'static str,
    /// Its texts.
    pub text: CheckText,
    /// On what it runs; in a direction the ward is in the cluster where it ends.
    pub scope: Scope,
    /// The claim that it is about.
    pub claim: ClaimKind,
    /// The lab's faults that turn it red.
    pub faults: &'static [&'static str],
    /// What is tried, one after the other on the same ward.
    pub cases: &'static [Case],
}

#[async_trait]
impl Check for Family {
    fn id(&self) -> CheckId {
        CheckId::from(self.id)
    }
    fn text(&self) -> CheckText {
        self.text
    }
    fn scope(&self) -> Scope {
        self.scope
    }
    fn needs(&self) -> Needs {
        Needs {
            scenario: Some(super::actor::SCENARIO),
            claim: Some(self.claim),
            mutates: true,
            ..Needs::default()
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        self.faults
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let scene = match Scene::set(context, &GROUPS).await {
            Ok(scene) => scene,
            Err(verdict) => return verdict,
        };
        scene.tell_nodes(context);
        let mut tally = Tally::new();
        for case in self.cases {
            case.play(context, &scene, &mut tally).await;
        }
        tally.verdict()
    }
}

/// A family that is tried only where what it takes is there.
pub struct Provided {
    /// The family.
    pub family: &'static Family,
    /// The verdict where something is lacking.
    pub lacking: for<'a> fn(&'a CheckContext) -> BoxFuture<'a, Option<Verdict>>,
}

#[async_trait]
impl Check for Provided {
    fn id(&self) -> CheckId {
        self.family.id()
    }
    fn text(&self) -> CheckText {
        self.family.text()
    }
    fn scope(&self) -> Scope {
        self.family.scope()
    }
    fn needs(&self) -> Needs {
        self.family.needs()
    }
    fn faults(&self) -> &'static [&'static str] {
        self.family.faults()
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        match (self.lacking)(context).await {
            Some(verdict) => verdict,
            None => self.family.run(context).await,
        }
    }
}
