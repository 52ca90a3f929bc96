/*
 * The reset ROM: from the reset vector to long mode, then to the payload.
 *
 * 64 KiB at 0xf0000, linked at 0. Sets up flat segments, an identity map of the first GiB in 2 MiB pages, and
 * every vector extension the CPU has; jumps to PAYLOAD in 64-bit mode. MEMORY is the size of the guest's memory.
 */
        .set    PAGE_MAP, 0x1000
        .set    PAGE_POINTERS, 0x2000
        .set    PAGE_DIRECTORY, 0x3000
        .set    PRESENT_WRITABLE, 0x3
        .set    LARGE_PAGE, 0x83
        .set    HOST_BLOCK, 0x20000

        .section .text
rom:
        .code16
real_mode:
        cli
        lgdtl   %cs:(gdt_pointer - rom)
        movl    %cr0, %eax
        andl    $0x9fffffff, %eax       /* caches on: CD and NW off */
        orl     $1, %eax                /* PE */
        movl    %eax, %cr0
        ljmpl   $0x08, $(0xf0000 + protected_mode - rom)

        .code32
protected_mode:
        movw    $0x10, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $0x8000, %esp

        /*
         * Bochs 2.7 reads a RAM image into consecutive host blocks, but gives a guest block its host block when
         * it is first touched: only memory touched in ascending order holds the image as it was.
         */
        movl    $PAYLOAD, %esi
1:      movl    (%esi), %eax
        addl    $HOST_BLOCK, %esi
        cmpl    $MEMORY, %esi
        jb      1b

        cld
        xorl    %eax, %eax
        movl    $PAGE_MAP, %edi
        movl    $(3 * 0x1000 / 4), %ecx
        rep stosl
        movl    $(PAGE_POINTERS + PRESENT_WRITABLE), PAGE_MAP
        movl    $(PAGE_DIRECTORY + PRESENT_WRITABLE), PAGE_POINTERS
        movl    $PAGE_DIRECTORY, %edi
        movl    $LARGE_PAGE, %eax
        movl    $512, %ecx
2:      movl    %eax, (%edi)
        addl    $0x200000, %eax
        addl    $8, %edi
        loop    2b

        movl    $0x40620, %eax          /* OSXSAVE, OSXMMEXCPT, OSFXSR, PAE */
        movl    %eax, %cr4
        movl    $PAGE_MAP, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx       /* EFER */
        rdmsr
        orl     $0x100, %eax            /* LME */
        wrmsr
        movl    %cr0, %eax
        andl    $~0xc, %eax             /* EM and TS off */
        orl     $0x80000022, %eax       /* PG, NE, MP */
        movl    %eax, %cr0
        ljmpl   $0x18, $(0xf0000 + long_mode - rom)

        .code64
long_mode:
        movl    $0xd, %eax              /* which register states there are */
        xorl    %ecx, %ecx
        cpuid
        andl    $0xe7, %eax             /* x87, SSE, AVX, the three of AVX-512 */
        xorl    %edx, %edx
        xorl    %ecx, %ecx
        xsetbv
        fninit
        movl    $0x1f80, -8(%rsp)       /* round to nearest, no exceptions, denormals kept */
        ldmxcsr -8(%rsp)
        movl    $PAYLOAD, %eax
        jmp     *%rax

        .balign 16
gdt:    .quad   0
        .quad   0x00cf9b000000ffff      /* 0x08: 32-bit code */
        .quad   0x00cf93000000ffff      /* 0x10: data */
        .quad   0x00af9b000000ffff      /* 0x18: 64-bit code */
gdt_pointer:
        .word   . - gdt - 1
        .long   0xf0000 + gdt - rom

        .org    0xfff0                  /* the reset vector */
        .code16
        jmp     real_mode
        .org    0x10000
        .section .note.GNU-stack,"",@progbits
