/* Entry of the payload: a stack, handlers for all exceptions, the jobs, and back to the debugger. */
        .set    EXCEPTIONS, 32
        .set    STUB_BYTES, 16

        .section .start,"ax"
        .globl  _start
_start:
        leaq    stack_top(%rip), %rsp
        cld
        leaq    __bss_start(%rip), %rdi
        leaq    __bss_end(%rip), %rcx
        subq    %rdi, %rcx
        xorl    %eax, %eax
        rep stosb

        leaq    gates(%rip), %rdi
        leaq    stubs(%rip), %rax
        movl    $EXCEPTIONS, %ecx
1:      movw    %ax, (%rdi)             /* an interrupt gate to the stub, in the 64-bit code segment */
        movw    $0x18, 2(%rdi)
        movw    $0x8e00, 4(%rdi)
        movq    %rax, %rdx
        shrq    $16, %rdx
        movw    %dx, 6(%rdi)
        movq    $0, 8(%rdi)
        addq    $16, %rdi
        addq    $STUB_BYTES, %rax
        loop    1b
        lidt    gates_pointer(%rip)

        call    run_jobs
stop:   xchgw   %bx, %bx                /* Bochs's magic breakpoint */
        jmp     stop

        /* One stub an exception: its number, and the error code off the stack where the CPU has pushed one. */
        .balign STUB_BYTES
stubs:  .set    number, 0
        .rept   EXCEPTIONS
        .balign STUB_BYTES
        movl    $number, %edi
        .if     number == 8 || (number >= 10 && number <= 14) || number == 17 || number == 21
        popq    %rcx
        .endif
        jmp     trapped
        .set    number, number + 1
        .endr
trapped:
        movq    (%rsp), %rsi            /* where it happened */
        movq    %cr2, %rdx
        andq    $-64, %rsp
        call    report_trap
        jmp     stop

        .data
        .balign 16
gates_pointer:
        .word   EXCEPTIONS * 16 - 1
        .quad   gates

        .bss
        .balign 64
gates:  .skip   EXCEPTIONS * 16
        .balign 64
        .skip   0x40000
stack_top:
        .section .note.GNU-stack,"",@progbits
