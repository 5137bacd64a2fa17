import { createPinia, setActivePinia } from "pinia";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { effectScope, nextTick, ref } from "vue";
import { useResource, useTicker } from "./resource";

beforeEach(() => {
  setActivePinia(createPinia());
  vi.useFakeTimers();
});
afterEach(() => vi.useRealTimers());

test("what is slower than its ticker is waited for, and not begun again", async () => {
  let begun = 0;
  let answer = () => {};
  const scope = effectScope();
  scope.run(() =>
    useTicker(1000, () => {
      begun += 1;
      return new Promise<void>((done) => (answer = done));
    }),
  );
  await vi.advanceTimersByTimeAsync(5000);
  expect(begun).toBe(1);
  answer();
  await vi.advanceTimersByTimeAsync(1000);
  expect(begun).toBe(2);
  scope.stop();
  await vi.advanceTimersByTimeAsync(5000);
  expect(begun).toBe(2);
});

test("of another one nothing old is shown, of the same one the last good is", async () => {
  const [same, another] = [ref(0), ref(0)];
  const load = async () => {
    const read = `${same.value}${another.value}`;
    await new Promise((done) => setTimeout(done, 100));
    return read;
  };
  const scope = effectScope();
  const resource = scope.run(() => useResource(load, [same], [another]));
  await vi.advanceTimersByTimeAsync(100);
  expect(resource?.data.value).toBe("00");
  same.value = 1;
  await nextTick();
  expect(resource?.data.value).toBe("00");
  await vi.advanceTimersByTimeAsync(100);
  expect(resource?.data.value).toBe("10");
  another.value = 1;
  await nextTick();
  expect(resource?.data.value).toBeUndefined();
  await vi.advanceTimersByTimeAsync(100);
  expect(resource?.data.value).toBe("11");
  scope.stop();
});
