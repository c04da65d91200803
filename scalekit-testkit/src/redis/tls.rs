//! A certificate authority and a server certificate for 127.0.0.1, made at run time.
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// Writes `ca.pem`, `cert.pem` and `key.pem` to the directory; returns the authority's certificate.
pub(super) fn write_certificates(dir: &Path) -> String {
    let made = make().unwrap_or_else(|e| panic!("cannot make certificates: {e}"));
    for (name, text) in [("ca.pem", &made.ca), ("cert.pem", &made.cert), ("key.pem", &made.key)] {
        let path = dir.join(name);
        fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(dir.join("key.pem"), private).unwrap_or_else(|e| panic!("key.pem: {e}"));
    made.ca
}

struct Made {
    ca: String,
    cert: String,
    key: String,
}

fn make() -> Result<Made, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "scalekit test authority");
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let cert = CertificateParams::new(names)?.signed_by(&key, &ca)?;
    Ok(Made { ca: ca.pem(), cert: cert.pem(), key: key.serialize_pem() })
}
