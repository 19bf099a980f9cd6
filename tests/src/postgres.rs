//! Daemons on a real PostgreSQL.

use orbitd_test_postgres::{As, Server};

use crate::Daemon;

/// A daemon's own role on a server: it may make databases and roles, and has a database of its own.
pub struct Access {
    /// Its name; also its database's.
    pub user: String,
    /// Its password.
    pub password: String,
    url: String,
}

impl Access {
    /// A new role on the server.
    pub fn new(server: &Server) -> Self {
        let (user, password) = server.daemon();
        let url = server.url(As { user: &user, password: &password }, &user);
        Self { user, password, url }
    }

    /// The same, reached another way: `there` replaces `127.0.0.1:<port>`, and may be a list or carry more.
    #[must_use]
    pub fn by_way_of(&self, there: &str) -> Self {
        let (user, rest) = self.url.rsplit_once('@').expect("an address with a user");
        let (_, database) = rest.split_once('/').expect("an address with a database");
        let (user, database) = (user.to_owned(), database.to_owned());
        Self { url: format!("{user}@{there}/{database}"), user: self.user.clone(), password: self.password.clone() }
    }

    /// The same with parameters: `sslmode=…`.
    #[must_use]
    pub fn with(&self, parameters: &str) -> Self {
        let url = format!("{}?{parameters}", self.url);
        Self { url, user: self.user.clone(), password: self.password.clone() }
    }

    /// Sections of `orbitd.toml`: workspaces' databases on the server. `more`: further keys of `[provisioner.postgres]`.
    pub fn provisioner(&self, more: &str) -> String {
        format!("[provisioner]\nkind = \"postgres\"\n[provisioner.postgres]\nurl = \"{}\"\n{more}\n", self.url)
    }

    /// Sections of `orbitd.toml`: the registry on the server.
    pub fn registry(&self) -> String {
        format!("[registry]\nurl = \"{}\"\n", self.url)
    }
}

/// The login that the instance of a workspace was given: role, password and database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The role.
    pub user: String,
    /// Its password, from the instance's secret file.
    pub password: String,
    /// The database.
    pub database: String,
}

impl Login {
    /// Of the newest instance of a workspace, from its run directory.
    ///
    /// # Panics
    /// Where there is none.
    pub fn of(daemon: &Daemon, slug: &str) -> Self {
        let homes = std::fs::read_dir(daemon.dir.join("data/workspaces")).expect("homes").flatten();
        let home = homes
            .map(|entry| entry.path())
            .find(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                name.rsplit_once('-').is_some_and(|(of, _)| of == slug)
            })
            .expect("a home");
        let mut runs: Vec<_> = std::fs::read_dir(home.join("run")).expect("runs").flatten().map(|e| e.path()).collect();
        runs.sort();
        let run = runs.pop().expect("an instance");
        let text = std::fs::read_to_string(run.join("host.json")).expect("its config");
        let config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let connection = &config["backend"]["database"]["connection"];
        let text = |key: &str| connection[key].as_str().unwrap_or_default().to_owned();
        let file = connection["password"]["$file"].as_str().expect("a file").to_owned();
        let password = std::fs::read_to_string(file).expect("the password's file");
        Self { user: text("user"), password, database: text("database") }
    }

    /// For [`Server::sql`].
    pub fn role(&self) -> As<'_> {
        As { user: &self.user, password: &self.password }
    }

    /// Runs a statement as the workspace.
    ///
    /// # Errors
    /// What the server said.
    pub fn sql(&self, server: &Server, statement: &str) -> Result<String, String> {
        server.sql(self.role(), &self.database, statement)
    }
}
