import { CfnParameter } from 'aws-cdk-lib';
import { only, synthesise } from './fixtures';

const properties = (template: ReturnType<typeof synthesise>['template'], resource: string, id?: string) => only(template, resource, id).Properties;

test('by default the number of tasks is fixed', () => {
  const { template } = synthesise({ desiredCount: 3 });
  template.resourceCountIs('AWS::ApplicationAutoScaling::ScalableTarget', 0);
  expect(properties(template, 'AWS::ECS::Service').DesiredCount).toBe(3);
});

test('with `scaling` it follows CPU and requests, beginning with `desiredCount`', () => {
  const { template } = synthesise({ desiredCount: 2, scaling: { maxCount: 6 } });
  expect(properties(template, 'AWS::ECS::Service')).not.toHaveProperty('DesiredCount');
  expect(properties(template, 'AWS::ApplicationAutoScaling::ScalableTarget')).toMatchObject({ MinCapacity: 2, MaxCapacity: 6 });
  const policy = (id: string) => properties(template, 'AWS::ApplicationAutoScaling::ScalingPolicy', id).TargetTrackingScalingPolicyConfiguration;
  expect(policy('Cpu')).toEqual({
    PredefinedMetricSpecification: { PredefinedMetricType: 'ECSServiceAverageCPUUtilization' }, TargetValue: 60, ScaleInCooldown: 600, ScaleOutCooldown: 120,
  });
  expect(policy('Requests')).toMatchObject({
    PredefinedMetricSpecification: { PredefinedMetricType: 'ALBRequestCountPerTarget' }, TargetValue: 3000, ScaleInCooldown: 600, ScaleOutCooldown: 120,
  });
});

test('both targets can be chosen, and may be CDK tokens', () => {
  const { template } = synthesise(stack => ({
    scaling: { maxCount: new CfnParameter(stack, 'Most', { type: 'Number' }).valueAsNumber, cpuUtilizationPercent: 80, requestsPerTarget: 100 },
  }));
  expect(properties(template, 'AWS::ApplicationAutoScaling::ScalableTarget')).toMatchObject({ MinCapacity: 1, MaxCapacity: { Ref: 'Most' } });
  expect(['Cpu', 'Requests'].map(id => properties(template, 'AWS::ApplicationAutoScaling::ScalingPolicy', id).TargetTrackingScalingPolicyConfiguration.TargetValue)).toEqual([80, 100]);
});

test.each([
  [{ maxCount: 0 }, '`scaling.maxCount` must be a whole number, 1 or more, got 0'],
  [{ maxCount: 1.5 }, '`scaling.maxCount` must be a whole number, 1 or more, got 1.5'],
  [{ maxCount: 3, cpuUtilizationPercent: 0 }, '`scaling.cpuUtilizationPercent` must be a whole number, 1 to 100, got 0'],
  [{ maxCount: 3, cpuUtilizationPercent: 101 }, '`scaling.cpuUtilizationPercent` must be a whole number, 1 to 100, got 101'],
  [{ maxCount: 3, requestsPerTarget: 0 }, '`scaling.requestsPerTarget` must be a whole number, 1 or more, got 0'],
  [{ maxCount: 1 }, '`scaling.maxCount` must not be lower than `desiredCount`, got 1 and 2: raise it, or lower `desiredCount`'],
])('fails for %j', (scaling, problem) => {
  expect(() => synthesise({ desiredCount: 2, scaling })).toThrow(problem);
});

test('fails for 0 tasks: without a task there are no metrics', () => {
  expect(() => synthesise({ desiredCount: 0, scaling: { maxCount: 3 } })).toThrow('`desiredCount` must be 1 or more where `scaling` is given, got 0');
});
