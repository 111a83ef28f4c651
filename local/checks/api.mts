/** The call of MLflow's API by which most checks see who gets in, and the path that nobody may call. */

import type { OutgoingHttpHeaders } from 'node:http';
import type { Send } from '../clients/http.mjs';

/** Everybody who is in may make it. */
export const search = '/api/2.0/mlflow/experiments/search?max_results=1';

/** Of MLflow's assistant, which runs commands beside the server. */
export const assistant = '/ajax-api/3.0/mlflow/assistant/config';

export async function statusOfSearch(send: Send, headers: OutgoingHttpHeaders): Promise<number> {
  return (await send(search, { headers })).status;
}
