//! A running shop.

use std::net::{Ipv4Addr, SocketAddr};

use scalekit_testkit::{Program, Running};

use crate::{browser::Browser, shards::Shards};

/// A process of the shop that answers.
pub(crate) struct Shop {
    pub(crate) running: Running,
    pub(crate) url: String,
    _shards: Option<Shards>,
}

impl Shop {
    /// A shop of its own, with nothing but these options.
    pub(crate) async fn open(options: &[&str]) -> Self {
        let shards = Shards::create().await;
        let mut shop = Self::start(program(&shards).args(options.iter().copied())).await;
        shop._shards = Some(shards);
        shop
    }

    /// The shop that this program makes.
    pub(crate) async fn start(program: Program) -> Self {
        let mut running = program.start();
        let url = running.wait_listening().await;
        assert_eq!(running.stdout().first(), Some(&format!("listening on {url}")), "the first line");
        Self { running, url, _shards: None }
    }

    /// Somebody who has not signed in.
    pub(crate) fn visitor(&self) -> Browser {
        Browser::at(&self.url)
    }

    /// Somebody who has signed in, with an empty cart.
    pub(crate) async fn customer(&self, tenant: &str, user: &str) -> Browser {
        let browser = self.visitor();
        browser.sign_in(tenant, user).await;
        browser
    }

    /// Writes a command and waits for its answer.
    pub(crate) async fn command(&mut self, line: &str, answer: &str) {
        self.running.send_line(line);
        self.running.wait_line(answer).await;
    }
}

/// The program on these shards, on any free port.
pub(crate) fn program(shards: &Shards) -> Program {
    program_at(shards, (Ipv4Addr::LOCALHOST, 0).into())
}

/// The program on these shards, at this address.
pub(crate) fn program_at(shards: &Shards, address: SocketAddr) -> Program {
    Program::new(env!("CARGO_BIN_EXE_checkout"))
        .own_tmpdir()
        .arg(format!("--listen={address}"))
        .args(shards.options())
}
