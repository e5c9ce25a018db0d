//! Connections over TLS: with a certificate that the platform trusts, and with none.

#![cfg(feature = "rustls")]
#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;

use base64::Engine as _;
use support::{runtime, started};
use workflow_engine::Store;
use workflow_postgres::{ConnectError, PostgresStore};

fn pem(what: &str, der: &[u8]) -> String {
    let base64 = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = base64
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN {what}-----\n{}\n-----END {what}-----\n",
        lines.join("\n")
    )
}

#[test]
fn a_server_with_a_trusted_certificate_is_connected_to_over_tls() {
    let Some(server) = started(&["autovacuum=off"]) else {
        return;
    };
    if server.address().is_none() {
        return eprintln!("skipped: the server of WF_TEST_PG_URL gets no certificate");
    }
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let folder = std::env::temp_dir().join(format!("wf-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (certificate, key) = (folder.join("server.crt"), folder.join("server.key"));
    std::fs::write(&certificate, pem("CERTIFICATE", certified.cert.der())).unwrap();
    std::fs::write(
        &key,
        pem("PRIVATE KEY", &certified.signing_key.serialize_der()),
    )
    .unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    // The server reads it, as the user that it runs as.
    let owner = std::fs::metadata(server.folder().unwrap()).unwrap();
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        chown(&key, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let url = runtime().block_on(async {
        let settings = [
            format!(
                "ALTER SYSTEM SET ssl_cert_file = '{}'",
                certificate.display()
            ),
            format!("ALTER SYSTEM SET ssl_key_file = '{}'", key.display()),
            "ALTER SYSTEM SET ssl = on".into(),
            "SELECT pg_reload_conf()".into(),
        ];
        for setting in settings {
            server.execute(&setting).await.unwrap();
        }
        format!("{} sslmode=require", server.database().await.unwrap())
    });
    let child = |trusted: bool| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["connects_over_tls", "--exact", "--nocapture"])
            .env("WF_TLS_URL", &url);
        command.env(
            "SSL_CERT_FILE",
            if trusted {
                certificate.as_os_str()
            } else {
                "/dev/null".as_ref()
            },
        );
        command.env_remove("SSL_CERT_DIR");
        let output = command.output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let said = child(true);
    assert!(said.contains("over TLS: true"), "{said}");
    let said = child(false);
    assert!(said.contains("refused: TLS"), "{said}");
    std::fs::remove_dir_all(folder).unwrap();
}

/// Nothing to do unless the other test starts it, with the certificates that are trusted.
#[test]
fn connects_over_tls() {
    let Ok(url) = std::env::var("WF_TLS_URL") else {
        return;
    };
    runtime().block_on(async {
        match PostgresStore::connect(&url).await {
            Ok(store) => {
                let (client, connection) =
                    tokio_postgres::connect(&url.replace("sslmode=require", ""), tokio_postgres::NoTls).await.unwrap();
                tokio::spawn(connection);
                let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                                 WHERE application_name = 'workflow-postgres'";
                let encrypted: bool = client.query_one(encrypted, &[]).await.unwrap().get(0);
                assert!(store.now().await.unwrap().is_some());
                println!("over TLS: {encrypted}");
            }
            Err(error @ ConnectError::Tls(_)) => println!("refused: {error}"),
            Err(error) => panic!("{error:?}"),
        }
    });
}
