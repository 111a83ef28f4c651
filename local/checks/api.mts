/** The call of MLflow's API with which most checks test access, and the path that is closed for everyone. */

import type { OutgoingHttpHeaders } from 'node:http';
import type { Send } from '../clients/http.mjs';

/** All people who are signed in may call it. */
export const search = '/api/2.0/mlflow/experiments/search?max_results=1';

/** A path of MLflow's assistant, which runs commands on the server. */
export const assistant = '/ajax-api/3.0/mlflow/assistant/config';

export async function statusOfSearch(send: Send, headers: OutgoingHttpHeaders): Promise<number> {
  return (await send(search, { headers })).status;
}
