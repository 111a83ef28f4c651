/** What a person or a machine may do on the server. */
export enum AccessLevel {
  /** No access: every request is rejected, with a page that says why and how to sign out. */
  NONE = 'none',

  /** May see everything except webhooks, whose URLs contain secrets, and may change nothing. */
  READER = 'reader',

  /**
   * May also work with experiments, runs, models, prompts, traces, artifacts, datasets and reviews, call endpoints of the AI gateway, overwrite files, move
   * aliases, and delete runs, logged models, traces, datasets, scorers and review queues.
   */
  EDITOR = 'editor',

  /**
   * May do everything. Only admins may delete experiments, registered models, model versions and files, restore experiments, and manage webhooks, workspaces,
   * and keys, endpoints and budgets of the AI gateway. A write request that this release does not know also requires an admin.
   */
  ADMIN = 'admin',
}

/** Members of a level. It is enough to be in one of the lists. */
export interface AccessMembers {
  /**
   * Groups, spelled as the sign-in provider sends them, case-sensitive. `https://<domainName>/oauth2/userinfo` shows people their own groups.
   *
   * A group must not contain a comma, because oauth2-proxy joins the groups of a person with commas. With GitHub use `organization:team`, or the
   * `organization` of `AuthProvider.github`: anyone can create an organization with any unused name. Google sends no groups.
   *
   * @default - no groups
   * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/access.md#groups
   */
  readonly groups?: string[];

  /**
   * E-mail addresses of people, in a domain of `emailDomains`. Letter case does not matter.
   *
   * @default - no people
   */
  readonly people?: string[];

  /**
   * Exact subjects of machines: entries of `machineIdentities`, or `machineClientId(…)` of `AuthProvider.cognito`. Letter case does not matter.
   *
   * A machine on a list has the level of the list, not the level in `machines` of `AccessOptions`, which may be higher. For AWS roles use the `level` of
   * `grantTrackingAccess`.
   *
   * @default - no machines
   */
  readonly machines?: string[];
}

/**
 * Who may do what. The highest level that applies counts; no list lowers a level.
 *
 * `emailDomains`, the rules of `authProvider`, `machineIdentities` and `grantTrackingAccess` decide who gets in. `access` decides what they may do. The rules
 * are the same in the browser and for bearer tokens. A session keeps the groups of its sign-in until it ends (`sessionDuration`) or is refreshed (`sessionRefresh`).
 *
 * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/access.md
 */
export interface AccessOptions {
  /** Members with `AccessLevel.ADMIN`, who may do everything. Requires at least one group or person. */
  readonly admins: AccessMembers;

  /**
   * Members with `AccessLevel.EDITOR`, who may work with runs and models.
   *
   * @default - only those who are editors because of `everybody` or `machines`
   */
  readonly editors?: AccessMembers;

  /**
   * Members with `AccessLevel.READER`, who may only read.
   *
   * @default - only those who are readers because of `everybody` or `machines`
   */
  readonly readers?: AccessMembers;

  /**
   * Level of every person who gets in. A list of people or groups must not have a lower level, because no list lowers a level.
   *
   * @default AccessLevel.NONE - people who are on no list have no access and get a page that says so
   */
  readonly everybody?: AccessLevel;

  /**
   * Level of machines that are on no list and were not granted a `level`.
   *
   * @default AccessLevel.EDITOR
   */
  readonly machines?: AccessLevel;
}

/** Options of `grantTrackingAccess`. */
export interface TrackingAccessOptions {
  /**
   * Level of the role: READER, EDITOR or ADMIN. Requires the prop `access` of the server. If a role is granted several levels, the highest counts.
   *
   * @default - `machines` of `access`; without `access` the role may do everything
   */
  readonly level?: AccessLevel;
}
