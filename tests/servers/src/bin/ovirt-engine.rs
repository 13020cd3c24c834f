//! An oVirt engine for tests. Its address is the one line it prints.

use std::io;
use std::sync::Arc;

use test_servers::arguments::Arguments;
use test_servers::ovirt::{Engine, settings::Settings};

fn main() -> io::Result<()> {
    let mut arguments = Arguments::read()?;
    let settings =
        Settings::parse(&std::mem::take(&mut arguments.rest)).map_err(io::Error::other)?;
    arguments.serve(Arc::new(Engine::new(settings)))
}
