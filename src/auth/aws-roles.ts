import * as iam from 'aws-cdk-lib/aws-iam';

/** The ARN of the role that was passed to `grantTrackingAccess` of the construct at `path`. */
export function roleArnOf(path: string, grantee: iam.IGrantable): string {
  const { roleArn } = grantee.grantPrincipal as iam.IRole;
  if (roleArn === undefined) {
    throw new Error(`${path}: grantTrackingAccess must be given a role, got ${grantee.grantPrincipal}: pass an iam.Role, or a construct that has one`);
  }
  return roleArn;
}

/** Allows a role to request AWS identity tokens for the server at `url`. The role must also be on the list of the server. */
export function grantTokens(url: string, grantee: iam.IGrantable): iam.Grant {
  return iam.Grant.addToPrincipal({
    grantee,
    actions: ['sts:GetWebIdentityToken'],
    resourceArns: ['*'], // the action supports no resources; the conditions restrict what the AWS identity token is for
    conditions: {
      'ForAnyValue:StringEquals': { 'sts:IdentityTokenAudience': url },
      'ForAllValues:StringEquals': { 'sts:IdentityTokenAudience': url }, // no second audience in the same AWS identity token
      'NumericLessThanEquals': { 'sts:DurationSeconds': 3600 },
      'StringEquals': { 'sts:SigningAlgorithm': 'RS256' },
      'StringEqualsIfExists': { 'sts:SubjectMode': 'AWSIdentity' }, // in the other mode the subject is not the role, but the identity that assumed it
    },
  });
}
