/** include/linux/netdev_features.h: what a device can do by itself. Imports nothing, so that any file may use it early. */

// netdev->features. Bits without a counterpart in the kernel's numbering keep clear of it.
export const NETIF_F_SG: number = 1 << 0;
export const NETIF_F_IP_CSUM: number = 1 << 1;
/** The stack may make super-packets though the device gathers nothing: segmentation copies them into linear frames. */
export const NETIF_F_GSO_COPY: number = 1 << 2;
export const NETIF_F_HW_CSUM: number = 1 << 3;
export const NETIF_F_HIGHDMA: number = 1 << 5;
export const NETIF_F_FRAGLIST: number = 1 << 6;
export const NETIF_F_GSO: number = 1 << 11;
/** The driver needs no transmit lock. */
export const NETIF_F_LLTX: number = 1 << 12;
export const NETIF_F_GRO: number = 1 << 14;
export const NETIF_F_TSO: number = 1 << 16;
export const NETIF_F_GSO_UDP_L4: number = 1 << 17;
export const NETIF_F_TSO_ECN: number = 1 << 18;
/** TSO that leaves CWR in every frame, for Accurate ECN. */
export const NETIF_F_GSO_ACCECN: number = 1 << 19;
export const NETIF_F_TSO6: number = 1 << 20;
export const NETIF_F_RXCSUM: number = 1 << 29;
export const NETIF_F_LOOPBACK: number = 1 << 30;
export const NETIF_F_CSUM_MASK: number = NETIF_F_IP_CSUM | NETIF_F_HW_CSUM;
export const NETIF_F_ALL_TSO: number = NETIF_F_TSO | NETIF_F_TSO_ECN | NETIF_F_TSO6;
export const NETIF_F_GSO_MASK: number = NETIF_F_ALL_TSO | NETIF_F_GSO_ACCECN | NETIF_F_GSO_UDP_L4;
/** What software segmentation can cut. */
export const NETIF_F_GSO_SOFTWARE: number = NETIF_F_GSO_MASK;
/** Features that need nothing from the hardware; every device has them unless switched off. */
export const NETIF_F_SOFT_FEATURES: number = NETIF_F_GSO | NETIF_F_GRO;
