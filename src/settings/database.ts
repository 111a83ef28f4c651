/** Parameters of the database's cluster that promises depend on. Facts about each are in docs/settings.md. */
export const databaseParameters: Record<string, string> = {
  'rds.force_ssl': '1',
  'idle_session_timeout': '60000', // milliseconds; the connections that MLflow keeps in its pool heal by themselves
};
