//! One test for each database.

/// Runs each of the named functions as a test on each engine, which it is told.
macro_rules! on_engines {
    ($($promise:ident),+ $(,)?) => {
        $(mod $promise {
            use crate::support::Engine;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$promise(Engine::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$promise(Engine::Postgres).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_mariadb() {
                super::$promise(Engine::MariaDb).await;
            }
        })+
    };
}
pub(crate) use on_engines;

/// Tests of each named moment on each engine; `moment` follows `what`, to make a sentence.
macro_rules! at_each_moment {
    ($what:ident: $($moment:ident),+) => {
        mod $what {
            $(mod $moment {
                use super::super::$what as dies;
                use crate::support::Engine;

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_sqlite() {
                    dies(Engine::Sqlite, stringify!($moment)).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_postgres() {
                    dies(Engine::Postgres, stringify!($moment)).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_mariadb() {
                    dies(Engine::MariaDb, stringify!($moment)).await;
                }
            })+
        }
    };
}
pub(crate) use at_each_moment;
