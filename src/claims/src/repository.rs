//! A repository, or the files that the user names, as read once: what of it is claimed and what it installs follows.

use crate::{
    chart::Chart,
    check::{Request, named},
    finding::Findings,
    layout::Layout,
    prediction::Prediction,
    sources::{Sources, SourcesError},
    table::Table,
};

/// What files are read by.
pub(crate) struct Tables {
    pub(crate) chart: Chart,
    pub(crate) prediction: Prediction,
    pub(crate) table: Table,
}

impl Tables {
    pub(crate) fn new() -> Self {
        let (chart, prediction) = (Chart::new(), Prediction::new());
        let table = Table::new(&chart, &prediction);
        Self {
            chart,
            prediction,
            table,
        }
    }
}

/// The files of a repository that are about Cilium.
pub struct Repository {
    pub(crate) request: Request,
    pub(crate) is_repository: bool,
    pub(crate) tables: Tables,
    pub(crate) sources: Sources,
    pub(crate) layout: Layout,
}

impl Repository {
    /// Reads a repository, or only the files that the user names.
    ///
    /// # Errors
    /// The folder, or a file that the user names, cannot be read.
    pub fn read(request: Request, is_repository: bool) -> Result<Self, SourcesError> {
        let tables = Tables::new();
        let mut sources = Sources::of(&request.root, is_repository)?;
        let named = named(&mut sources, &request.values)?;
        let layout = Layout::of(&mut sources, &tables.chart, &named, &mut Findings::default());
        Ok(Self {
            request,
            is_repository,
            tables,
            sources,
            layout,
        })
    }
}
