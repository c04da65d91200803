//! TLS: which authority to trust, which certificate to show, and what a failed handshake means.

use std::{error::Error as _, fmt, io, sync::Arc};

use ::redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, RedisError, TlsCertificates};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::config::{RedisConfig, config};
use crate::Result;

/// Nothing set: the authorities of the web are trusted, and no certificate is shown.
#[derive(Clone, Default)]
pub(super) struct Tls {
    authorities: Option<Vec<u8>>,
    identity: Option<ClientTlsConfig>,
}

impl RedisConfig {
    /// Trusts the certificate authorities in this PEM text, and no others; without it, those of the web.
    ///
    /// For `rediss://` URLs, of every connection of the handle. The server's name is checked in any case.
    ///
    /// ```
    /// use scalekit_core::redis::{Redis, RedisConfig};
    ///
    /// # fn connect(ca: Vec<u8>) -> scalekit_core::Result<()> {
    /// // let ca = std::fs::read("/etc/redis/ca.pem")?;
    /// let redis = Redis::open_with(&["rediss://redis.internal:6379"], RedisConfig::default().with_ca(ca))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_ca(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.authorities = Some(pem.into());
        self
    }

    /// Shows this certificate, or chain of them, to a server that asks clients for one; both in PEM.
    ///
    /// ```
    /// use scalekit_core::redis::{Redis, RedisConfig};
    ///
    /// # fn connect(certificate: Vec<u8>, key: Vec<u8>) -> scalekit_core::Result<()> {
    /// let config = RedisConfig::default().with_client_certificate(certificate, key);
    /// let redis = Redis::open_with(&["rediss://redis.internal:6379"], config)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_client_certificate(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        let (client_cert, client_key) = (certificate.into(), key.into());
        self.tls.identity = Some(ClientTlsConfig { client_cert, client_key });
        self
    }
}

impl Tls {
    pub(super) fn client(&self, node: ConnectionInfo) -> Result<Client> {
        self.check(&node)?;
        let client = match self.certificates() {
            None => Client::open(node),
            Some(certificates) => Client::build_with_tls(node, certificates),
        };
        client.map_err(|error| config("redis: bad URL or certificates").with_source(error))
    }

    /// Whether the certificates can be read and will be used.
    fn check(&self, node: &ConnectionInfo) -> Result<()> {
        let tls = matches!(node.addr(), ConnectionAddr::TcpTls { .. });
        if (self.authorities.is_some() || self.identity.is_some()) && !tls {
            return Err(config("redis: certificates are given, but a URL is not rediss://"));
        }
        if let Some(pem) = &self.authorities {
            certificates(pem, "of the authority")?;
        }
        if let Some(identity) = &self.identity {
            certificates(&identity.client_cert, "of the client")?;
            let key = PrivateKeyDer::from_pem_slice(&identity.client_key);
            key.map_err(|_| config("redis: the PEM of the client's key holds no private key"))?;
        }
        Ok(())
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        if self.authorities.is_none() && self.identity.is_none() {
            return None;
        }
        Some(TlsCertificates { client_tls: self.identity.clone(), root_cert: self.authorities.clone() })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("own_authorities", &self.authorities.is_some())
            .field("client_certificate", &self.identity.is_some())
            .finish()
    }
}

/// What went wrong, if it was the handshake.
pub(super) fn refusal(error: &RedisError) -> Option<&'static str> {
    use rustls::{AlertDescription as Alert, Error};
    let shared = error.source()?.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>()?;
    let tls = shared.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<Error>()?;
    Some(match tls {
        Error::InvalidCertificate(_) => "the certificate of redis is not trusted: see RedisConfig::with_ca",
        Error::AlertReceived(Alert::CertificateRequired | Alert::HandshakeFailure) => {
            "redis wants a client certificate: see RedisConfig::with_client_certificate"
        }
        _ => "the TLS handshake with redis failed",
    })
}

/// An empty list would trust nobody, which shows only when the first connection fails.
fn certificates(pem: &[u8], whose: &str) -> Result<()> {
    let mut found = CertificateDer::pem_slice_iter(pem);
    match found.next() {
        Some(Ok(_)) if found.all(|one| one.is_ok()) => Ok(()),
        _ => Err(config(format!("redis: the PEM {whose} holds no certificate, or one that cannot be read"))),
    }
}
