/** What somebody may do on the server. */
export enum AccessLevel {
  /** Nothing: every request is refused, with a page that says why and how to sign out. */
  NONE = 'none',

  /** Sees everything but webhooks, whose addresses hold secrets, and changes nothing. */
  READER = 'reader',

  /**
   * Also works with experiments, runs, models, prompts, traces, artifacts, datasets and reviews, calls endpoints of the AI gateway, overwrites files, moves
   * aliases, and deletes runs, logged models, traces, datasets, scorers and review queues.
   */
  EDITOR = 'editor',

  /**
   * Everything. Only admins delete experiments, registered models, model versions and files, restore experiments, and manage webhooks, workspaces, and keys,
   * endpoints and budgets of the AI gateway. A write that this release does not know needs an admin, too.
   */
  ADMIN = 'admin',
}

/** Who has a level. Being in one of the lists is enough. */
export interface AccessMembers {
  /**
   * Groups, spelt as the sign-in provider sends them; upper and lower case count. `https://<domainName>/oauth2/userinfo` shows people their own.
   *
   * A group holds no comma, because oauth2-proxy joins the groups of a person with commas. Of GitHub it is `organization:team`, or the `organization` of
   * `AuthProvider.github`, because anybody can found an organization of any name that is free. Google sends no groups.
   *
   * @default - no groups
   * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/access.md#groups
   */
  readonly groups?: string[];

  /**
   * E-mail addresses of people, in `emailDomains`. Letter case does not matter.
   *
   * @default - no people
   */
  readonly people?: string[];

  /**
   * Machines by exact subject: entries of `machineIdentities`, or `machineClientId(…)` of `AuthProvider.cognito`. Letter case does not matter.
   *
   * A machine that is named has the levels of its lists in place of `machines` of `AccessOptions`, which may be higher. For AWS roles use the `level` of
   * `grantTrackingAccess`.
   *
   * @default - no machines
   */
  readonly machines?: string[];
}

/**
 * Who may do what. The highest level that applies counts; nothing lowers one.
 *
 * `emailDomains`, the rules of `authProvider`, `machineIdentities` and `grantTrackingAccess` decide who gets in, `access` what they may do then. It holds for
 * the browser and for tokens alike. A session keeps the groups of its sign-in until it ends or is refreshed (`sessionDuration`, `sessionRefresh`).
 *
 * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/access.md
 */
export interface AccessOptions {
  /** Who may do everything: at least one group or person. */
  readonly admins: AccessMembers;

  /**
   * Who may work with runs and models: `AccessLevel.EDITOR`.
   *
   * @default - none but those whom `everybody` and `machines` make editors
   */
  readonly editors?: AccessMembers;

  /**
   * Who may only look: `AccessLevel.READER`.
   *
   * @default - none but those whom `everybody` and `machines` make readers
   */
  readonly readers?: AccessMembers;

  /**
   * Level of every person who gets in. A list of people or groups must not be below it: nothing lowers a level.
   *
   * @default AccessLevel.NONE - people who are on no list are shut out: they get a page that says so
   */
  readonly everybody?: AccessLevel;

  /**
   * Level of machine identities that are on no list and were granted no `level`.
   *
   * @default AccessLevel.EDITOR
   */
  readonly machines?: AccessLevel;
}

/** What a role that is granted access may do. */
export interface TrackingAccessOptions {
  /**
   * Level of the role: READER, EDITOR or ADMIN. It needs `access` among the props of the server. Where a role is granted several, the highest counts.
   *
   * @default - `machines` of `access`; without `access` the role may do everything
   */
  readonly level?: AccessLevel;
}
