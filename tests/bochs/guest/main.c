/* The guest's program: fill the output, call the kernels one after the other, say so. Freestanding. */
#include <stddef.h>
#include <stdint.h>

/* Mirrored by GuestMemory in guest_memory.py. */
struct job {
    void (*kernel)(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);
    int64_t arguments[9];
};
struct header {
    uint64_t jobs;
    const struct job *first_job;
    uint8_t *output;
    uint64_t output_bytes;
    uint64_t fill;
};

static volatile int64_t current_job = -1;

/* What object code may ask for. */
void *memcpy(void *target, const void *source, size_t bytes)
{
    void *result = target;
    __asm__ volatile("rep movsb" : "+D"(target), "+S"(source), "+c"(bytes) : : "memory");
    return result;
}

void *memset(void *target, int value, size_t bytes)
{
    void *result = target;
    __asm__ volatile("rep stosb" : "+D"(target), "+c"(bytes) : "a"(value) : "memory");
    return result;
}

void *memmove(void *target, const void *source, size_t bytes)
{
    if ((uintptr_t)target - (uintptr_t)source >= bytes)
        return memcpy(target, source, bytes);
    while (bytes--)
        ((volatile uint8_t *)target)[bytes] = ((const uint8_t *)source)[bytes];
    return target;
}

/* Bochs prints what is written to port 0xe9. */
static void say(const char *text)
{
    for (; *text; text++)
        __asm__ volatile("outb %0, %1" : : "a"(*text), "Nd"((uint16_t)0xe9));
}

static void say_number(const char *name, uint64_t value)
{
    char digits[] = "0x0000000000000000";
    for (int i = 0; i < 16; i++)
        digits[2 + i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
    say(name);
    say(digits);
}

void report_trap(uint64_t vector, uint64_t instruction, uint64_t address)
{
    say_number("@@ TRAP vector=", vector);
    say_number(" instruction=", instruction);
    say_number(" address=", address);
    say_number(" job=", (uint64_t)current_job);
    say("\n");
}

void run_jobs(void)
{
    const struct header *header = (const struct header *)INPUT;
    memset(header->output, (int)header->fill, header->output_bytes);
    for (uint64_t i = 0; i < header->jobs; i++) {
        const struct job *job = header->first_job + i;
        const int64_t *a = job->arguments;
        current_job = (int64_t)i;
        job->kernel(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]);
    }
    say("@@ DONE\n");
}
