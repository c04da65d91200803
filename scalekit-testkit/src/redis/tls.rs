//! A certificate authority and a server certificate for 127.0.0.1, made at run time.
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// In PEM; several servers may share them.
#[derive(Clone)]
pub(super) struct Certificates {
    pub(super) ca: String,
    pub(super) cert: String,
    pub(super) key: String,
}

impl Certificates {
    pub(super) fn make() -> Self {
        make().unwrap_or_else(|e| panic!("cannot make certificates: {e}"))
    }

    /// Writes `ca.pem`, `cert.pem` and `key.pem` to the directory.
    pub(super) fn write(&self, dir: &Path) {
        for (name, text) in [("ca.pem", &self.ca), ("cert.pem", &self.cert), ("key.pem", &self.key)] {
            let path = dir.join(name);
            fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(dir.join("key.pem"), private).unwrap_or_else(|e| panic!("key.pem: {e}"));
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificates(..)")
    }
}

fn make() -> Result<Certificates, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "scalekit test authority");
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let cert = CertificateParams::new(names)?.signed_by(&key, &ca)?;
    Ok(Certificates { ca: ca.pem(), cert: cert.pem(), key: key.serialize_pem() })
}
