// The thread sanitizer does not see how the engine's own library synchronizes.
#if defined(__SANITIZE_THREAD__)
extern "C" const char* __tsan_default_suppressions() {
  return "race:librocksdb.so\n";
}
#endif
