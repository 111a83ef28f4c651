// The validator built into newer releases takes seconds in every process. Only compliance.test.ts turns it on.
process.env.CDK_VALIDATION = 'false';
