import * as iam from 'aws-cdk-lib/aws-iam';

/** The role that `grantTrackingAccess` was given, which stands at `path`. */
export function roleArnOf(path: string, grantee: iam.IGrantable): string {
  const { roleArn } = grantee.grantPrincipal as iam.IRole;
  if (roleArn === undefined) {
    throw new Error(`${path}: grantTrackingAccess must be given a role, got ${grantee.grantPrincipal}: pass an iam.Role, or something that runs with one`);
  }
  return roleArn;
}

/** Lets a role ask AWS for tokens for the server at `url`. The server must have the role on its list. */
export function grantTokens(url: string, grantee: iam.IGrantable): iam.Grant {
  return iam.Grant.addToPrincipal({
    grantee,
    actions: ['sts:GetWebIdentityToken'],
    resourceArns: ['*'], // the action knows no resource; the conditions name what the token is for
    conditions: {
      'ForAnyValue:StringEquals': { 'sts:IdentityTokenAudience': url },
      'ForAllValues:StringEquals': { 'sts:IdentityTokenAudience': url }, // no second audience in the same token
      'NumericLessThanEquals': { 'sts:DurationSeconds': 3600 },
      'StringEquals': { 'sts:SigningAlgorithm': 'RS256' },
      'StringEqualsIfExists': { 'sts:SubjectMode': 'AWSIdentity' }, // in the other mode the subject is not the role but who assumed it
    },
  });
}
