//! Another team on the same box. No route makes one yet, so it goes into the database.

use serde_json::json;

use crate::daemon::{Daemon, PATIENCE};

impl Daemon {
    /// Makes another team with a person in it; returns their key.
    pub fn key_of_another_team(&self, scope: &str) -> String {
        let key = self.post("/keys", &json!({ "name": "other", "scope": scope })).body;
        let connection = rusqlite::Connection::open(self.data().join("gradientd.db")).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        let moved = connection.execute_batch(&format!(
            "INSERT INTO teams VALUES ('t999999', 'others', 1);
             INSERT INTO users (id, team_id, name, created_at) VALUES ('u99999999', 't999999', 'other', 1);
             UPDATE keys SET team_id = 't999999', user_id = 'u99999999' WHERE id = '{}'",
            key["id"].as_str().unwrap()
        ));
        moved.unwrap();
        key["key"].as_str().unwrap().to_owned()
    }
}
