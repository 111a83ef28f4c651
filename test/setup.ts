// The validator built into newer releases takes seconds in every process; compliance.test.ts alone switches it on.
process.env.CDK_VALIDATION = 'false';
