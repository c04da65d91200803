//! The trait of one version of tower-sessions' core, whose types are equal in name and shape and differ to the compiler.

/// Implements `SessionStore` of the given crate.
macro_rules! session_store {
    ($core:ident) => {
        use async_trait::async_trait;
        use $core::{
            SessionStore,
            session::{Id, Record},
            session_store::{Error, Result},
        };

        use super::{TowerSessionStore, operations::Failure};

        #[async_trait]
        impl SessionStore for TowerSessionStore {
            async fn create(&self, record: &mut Record) -> Result<()> {
                let Record { id, data, expiry_date } = record;
                self.create_record(&mut id.0, data, *expiry_date, || Id::default().0)
                    .await
                    .map_err(Error::from)
            }

            async fn save(&self, record: &Record) -> Result<()> {
                self.save_record(record.id.0, &record.data, record.expiry_date).await.map_err(Error::from)
            }

            async fn load(&self, id: &Id) -> Result<Option<Record>> {
                let found = self.load_record(id.0).await?;
                Ok(found.map(|(data, expiry_date)| Record { id: *id, data, expiry_date }))
            }

            async fn delete(&self, id: &Id) -> Result<()> {
                self.delete_record(id.0).await.map_err(Error::from)
            }
        }

        impl From<Failure> for Error {
            fn from(failure: Failure) -> Self {
                match failure {
                    Failure::Encode(why) => Self::Encode(why),
                    Failure::Decode(why) => Self::Decode(why),
                    Failure::Backend(why) => Self::Backend(why),
                }
            }
        }
    };
}
